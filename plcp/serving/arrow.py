"""Bulk requests and answers as Arrow IPC streams. What comes in is trusted with nothing: one column of text, uncompressed, checked."""

import struct

import polars as pl
import pyarrow as pa

from plcp.serving.problems import FieldError, ProblemError, invalid
from plcp.serving.schemas import MAX_SKUS

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
MAX_BODY = 8 << 20  # bytes: so many SKUs have names of some hundred
HEADER_TYPE, HEADER, CUSTOM_METADATA = 1, 2, 4  # Message.fbs: places of a message's fields
RECORD_BATCH, COMPRESSION = 3, 3  # a header's type, and the place of its field
TEXT = (pa.string(), pa.large_string())  # not string_view: ten thousand views may show one long string


def sku_ids_of(body: bytes) -> list[str]:
    """The SKUs of a stream with the one column sku_id. Raises ProblemError (422) where it is anything else.

    Compressed batches are refused before they are read: a small body could grow into all of memory.
    """
    try:
        for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
            require_plain(message)
        reader = pa.ipc.open_stream(pa.py_buffer(body))
        if reader.schema.names != ["sku_id"] or reader.schema.field(0).type not in TEXT:
            raise wrong(f"expected the one column sku_id of type string, got {described(reader.schema)}")
        table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, struct.error, ValueError, OSError) as error:
        raise wrong(f"no Arrow IPC stream that can be read ({str(error).partition(chr(10))[0]})") from None
    if not 1 <= len(table) <= MAX_SKUS:
        raise wrong(f"{len(table):,} SKUs; send 1 to {MAX_SKUS:,} a request")
    if table["sku_id"].null_count:
        raise wrong("a sku_id is null")
    return table["sku_id"].to_pylist()


def stream_of(table: str, frame: pl.DataFrame, model: str) -> bytes:
    """Rows of a forecast table as a stream, with types that every reader of Arrow knows; its metadata name the table and the model."""
    rows = frame.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    sink = pa.BufferOutputStream()
    schema = rows.schema.with_metadata({"table": table, "model": model})
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(rows.replace_schema_metadata(schema.metadata))
    return sink.getvalue().to_pybytes()


def wrong(message: str) -> ProblemError:
    return invalid([FieldError(field="body", message=message)])


def described(schema: pa.Schema) -> str:
    return ", ".join(f"{name[:50]}: {kind}" for name, kind in zip(schema.names[:5], schema.types[:5], strict=True)) or "no column"


def require_plain(message: pa.ipc.Message) -> None:
    """Raises ProblemError for a record batch whose body is compressed; read from its flatbuffer, which the reader has verified: pyarrow
    does not tell. Before version 5 compression stood in a message's own metadata, where Arrow still honours it: neither is taken."""
    data = message.metadata.to_pybytes()
    root = struct.unpack_from("<I", data, 0)[0]
    if message.metadata_version != pa.ipc.MetadataVersion.V5 or field(data, root, CUSTOM_METADATA) is not None:
        raise wrong("messages of a version before 5, or with metadata of their own, are not taken; use Arrow 1.0 or newer")
    kind, header = field(data, root, HEADER_TYPE), field(data, root, HEADER)
    if kind is None or header is None or data[kind] != RECORD_BATCH:
        return
    if field(data, header + struct.unpack_from("<I", data, header)[0], COMPRESSION) is not None:
        raise wrong("compressed record batches are not taken; write the stream uncompressed")


def field(data: bytes, table: int, place: int) -> int | None:
    """Where a flatbuffer table's field stands; None where it is not given."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    entry = 4 + 2 * place
    if entry >= struct.unpack_from("<H", data, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", data, vtable + entry)[0]
    return table + offset if offset else None
