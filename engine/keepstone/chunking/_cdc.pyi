from keepstone.ids import Buffer

def two_stage(
    kernel: int,
    data: Buffer,
    final: bool,
    mask_bits: int,
    minimum: int,
    normal: int,
    maximum: int,
    strict: int,
    loose: int,
    sip_key: bytes,
    table: bytes,
    t: int,
    u: int,
    /,
) -> list[int]: ...
def aes(
    kernel: int,
    data: Buffer,
    final: bool,
    mask_bits: int,
    minimum: int,
    normal: int,
    maximum: int,
    strict: int,
    loose: int,
    key: bytes,
    /,
) -> list[int]: ...
def copied(data: Buffer, /) -> bytes: ...
def available() -> list[tuple[int, str, str]]: ...
