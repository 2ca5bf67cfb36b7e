"""A container's log as it lies on disk, written by `runtime.logs`: read forward, from the last N records, from a time on.

files ── which files there are, in order, while they are renamed and compressed
  └ file ── one of them, plain or gzip
      └ json_format, local_format ── what a record is; entry ── a record that was read
"""
