from keepstone.ids import Buffer

def cuts(
    data: Buffer,
    final: bool,
    sip_key: bytes,
    table: bytes,
    t: int,
    u: int,
    mask_bits: int,
    minimum: int,
    normal: int,
    maximum: int,
    strict: int,
    loose: int,
    /,
) -> list[int]: ...
