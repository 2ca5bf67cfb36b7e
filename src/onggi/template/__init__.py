"""Go's text/template for `--format` and log tags: same grammar, same functions, same error sentences.

    lexer ── text → tokens
      └ parser ── tokens → nodes
          └ evaluator ── nodes and a value → text; `functions`: what templates may call; `values`: how values print

Values are plain data: None, bool, int, float, str, lists, dicts, `Struct` (a dict whose keys are fixed) and `Row`
(named fields computed when asked for). No attribute of a Python object is ever reached, output is bounded, and there is
neither file nor environment in here. It imports nothing, so that the command line can use it without waiting.
"""
