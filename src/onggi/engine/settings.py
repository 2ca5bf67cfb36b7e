"""What an engine is told at its start: dockerd's options, under dockerd's names where it has one."""

from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AddressPool:
    """Where subnets of user-defined networks come from: blocks of /`size` out of `base`."""

    base: IPv4Network
    size: int


@dataclass(frozen=True, slots=True)
class AddedRuntime:
    """An OCI runtime that `--runtime` may name: a program in PATH or an absolute path, and its own arguments."""

    path: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """One engine. Two engines share a machine when data_root, exec_root and bridge_name differ."""

    data_root: Path = Path("/var/lib/onggi")
    """Images, volumes, logs, the database: survives a boot."""
    exec_root: Path = Path("/run/onggi")
    """Sockets, statuses, prepared namespaces: a tmpfs, gone after a boot."""
    bridge_name: str = "onggi0"
    """The link of the default bridge network; also marks which links and nftables table are this engine's."""
    bip: IPv4Interface | None = None
    """Address and subnet of the default bridge; None: a free small subnet is chosen."""
    fixed_cidr: IPv4Network | None = None
    """The part of `bip`'s subnet that containers get addresses from; None: all of it."""
    default_address_pools: tuple[AddressPool, ...] = ()
    """None given: small subnets beside the host's routes."""
    mtu: int = 1500
    ip_forward: bool = True
    """Turn on forwarding in the kernel at start. False: leave the sysctl alone."""
    icc: bool = True
    """Containers of the default bridge may talk to each other."""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Host, host:port or network that may be spoken to in plain HTTP or with an unknown certificate."""
    registry_mirrors: tuple[str, ...] = ()
    """Base URLs asked before docker.io."""
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    """Proxies for what the engine itself fetches: pulls, pushes, searches, `import URL`. Containers do not see them."""
    max_decompression_ratio: int = 500
    """So many times its size a layer may unpack to, beyond the first GiB; 0: any."""
    image_max_age_s: float = 0
    """An image that no container has had for so long is removed; 0: never."""
    image_max_bytes: int = 0
    """While images take more of the disk, unused ones are removed, used longest ago first; 0: no bound."""
    image_min_free_bytes: int = 0
    """While less of the disk is free, unused images are removed; 0: none is."""
    auto_update_interval_s: float = 0
    """How often the tags of containers that ask for auto-update are looked at; 0: never, a webhook or a person does."""
    auto_update_listen: str = ""
    """HOST:PORT where registries' webhooks are taken; "": nowhere."""
    auto_update_secret_file: str = ""
    """What those are signed with."""
    auto_update_auth_file: str = ""
    """Docker's config.json form: what proves to registries who the engine is when nobody is there to ask."""
    max_concurrent_downloads: int = 4
    max_concurrent_uploads: int = 5
    push_compression: str = "gzip"
    """Of layers of loaded, built or committed images, when they are pushed: gzip or zstd."""
    log_driver: str = "json-file"
    log_opts: dict[str, str] = field(default_factory=dict)
    default_ulimits: tuple[str, ...] = ()
    """As `--default-ulimit NAME=SOFT[:HARD]`."""
    default_shm_size_bytes: int = 64 * 1024 * 1024
    cgroup_parent: str = "/onggi"
    """The cgroup under which a container's cgroup is made, unless it names another."""
    runtimes: dict[str, AddedRuntime] = field(default_factory=dict)
    """Other OCI runtimes, by the names that `--runtime` takes."""
    default_runtime: str = "onggi"
    init_path: str = ""
    """What `--init` runs first under another runtime; "": docker-init or tini, as found in PATH."""
    cdi_spec_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    """Where vendors describe their devices (Container Device Interface); the later directory goes first."""
    shutdown_timeout_s: int = 15
    live_restore: bool = True
    """Containers go on when the engine stops. False: it stops them first, as dockerd does without --live-restore."""
    labels: tuple[str, ...] = ()
    api_names: tuple[str, ...] = ()
    """Host names that the API may be called by over TCP, beside addresses, localhost and the machine's own name."""
    debug: bool = False
    listening: tuple[str, ...] = ()
    """The addresses the API is served on, as `info` shows them."""
