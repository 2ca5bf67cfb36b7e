"""Sending one local address and port elsewhere, in the network namespace of the caller, without `nft` (3 ms, a fork).

The rules, as nft(8) would show them:

    table ip onggi_resolver {
      chain output {
        type nat hook output priority -100; policy accept;
        ip daddr 127.0.0.11 meta l4proto udp udp dport 53 dnat to :40123
        ip daddr 127.0.0.11 meta l4proto tcp tcp dport 53 dnat to :40124
      }
    }

So the resolver needs no port that a container's own DNS server may want. Source: linux/netfilter/nf_tables.h.
"""

from _socket import inet_aton
from struct import pack

from onggi.linux.netlink import APPEND, CREATE, NESTED, attribute
from onggi.linux.nftables import NFPROTO_IPV4, TCP, UDP, Nftables, Transaction

NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE = 0, 2, 3, 6
NF_INET_LOCAL_OUT = 3
NFTA_TABLE_NAME = 1
NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_TYPE = 1, 3, 4, 7
NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY = 1, 2
NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS = 1, 2, 4
NFTA_LIST_ELEM, NFTA_EXPR_NAME, NFTA_EXPR_DATA, NFTA_DATA_VALUE = 1, 1, 2, 1
NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER = 1, 2
NFT_META_L4PROTO = 16
NFT_CMP_EQ = 0
NFT_NAT_DNAT = 1
REGISTER = 1
"""NFT_REG_1."""
_TABLE, _CHAIN = b"onggi_resolver\0", b"output\0"


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, pack(">I", value))


def _nested(kind: int, content: bytes) -> bytes:
    return attribute(kind | NESTED, content)


def _expression(name: str, data: bytes) -> bytes:
    content = attribute(NFTA_EXPR_NAME, name.encode() + b"\0") + _nested(NFTA_EXPR_DATA, data)
    return _nested(NFTA_LIST_ELEM, content)


def _compare(value: bytes) -> bytes:
    """cmp: the register equals `value`."""
    data = _number(1, REGISTER) + _number(2, NFT_CMP_EQ) + _nested(3, attribute(NFTA_DATA_VALUE, value))
    return _expression("cmp", data)


def _payload(base: int, offset: int, length: int) -> bytes:
    return _expression("payload", _number(1, REGISTER) + _number(2, base) + _number(3, offset) + _number(4, length))


def _rule(address: str, port: int, protocol: int, to_port: int) -> bytes:
    expressions = (
        _payload(NFT_PAYLOAD_NETWORK_HEADER, 16, 4)
        + _compare(inet_aton(address))
        + _expression("meta", _number(1, REGISTER) + _number(2, NFT_META_L4PROTO))
        + _compare(bytes([protocol]))
        + _payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2)
        + _compare(pack(">H", port))
        + _expression("immediate", _number(1, REGISTER) + _nested(2, attribute(NFTA_DATA_VALUE, pack(">H", to_port))))
        + _expression("nat", _number(1, NFT_NAT_DNAT) + _number(2, NFPROTO_IPV4) + _number(5, REGISTER))
    )
    return (
        attribute(NFTA_RULE_TABLE, _TABLE)
        + attribute(NFTA_RULE_CHAIN, _CHAIN)
        + _nested(NFTA_RULE_EXPRESSIONS, expressions)
    )


def send_elsewhere(through: Nftables, address: str, port: int, *, udp: int, tcp: int) -> None:
    """What local processes send to `address`:`port` goes to these ports of it. Raises OSError."""
    hook = _number(NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT) + attribute(NFTA_HOOK_PRIORITY, pack(">i", -100))
    chain = (
        attribute(NFTA_CHAIN_TABLE, _TABLE)
        + attribute(NFTA_CHAIN_NAME, _CHAIN)
        + _nested(NFTA_CHAIN_HOOK, hook)
        + attribute(NFTA_CHAIN_TYPE, b"nat\0")
    )
    transaction = Transaction()
    table = attribute(NFTA_TABLE_NAME, _TABLE)
    # Made and removed first: so an older one, which led to other ports, is replaced.
    transaction.add(NFT_MSG_NEWTABLE, NFPROTO_IPV4, table, flags=CREATE)
    transaction.add(NFT_MSG_DELTABLE, NFPROTO_IPV4, table)
    transaction.add(NFT_MSG_NEWTABLE, NFPROTO_IPV4, table, flags=CREATE)
    transaction.add(NFT_MSG_NEWCHAIN, NFPROTO_IPV4, chain, flags=CREATE)
    for protocol, to_port in ((UDP, udp), (TCP, tcp)):
        rule = _rule(address, port, protocol, to_port)
        transaction.add(NFT_MSG_NEWRULE, NFPROTO_IPV4, rule, flags=CREATE | APPEND)
    through.commit(transaction, address)
