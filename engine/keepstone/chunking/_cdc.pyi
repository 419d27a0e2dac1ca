from keepstone.ids import Buffer

def cuts(
    buffer: Buffer,
    final: bool,
    table: bytes,
    sip_key: bytes,
    t: int,
    u: int,
    mask: int,
    minimum: int,
    maximum: int,
    normal: int,
    strict: int,
    loose: int,
) -> list[int]: ...
