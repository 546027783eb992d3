//! Writes MessagePack: entries of Fluent Forward, and flat maps as their records.

use jiff::Timestamp;
use rmp::encode::{
    ByteBuf, write_array_len, write_bool, write_ext_meta, write_map_len, write_nil, write_sint, write_str,
};

use crate::event::{Field, Object, Value};

/// Extension type of Fluent Forward's EventTime: seconds and nanoseconds since 1970, each as 32 bits.
const EVENT_TIME: i8 = 0;

/// Begins an entry, `[EventTime, record]`; the record follows. The time ends in the year 2106, as the format does.
pub(super) fn entry(time: Timestamp, out: &mut Vec<u8>) {
    written(out, |out| {
        write_array_len(out, 2)?;
        write_ext_meta(out, 8, EVENT_TIME)?;
        let second = u32::try_from(time.as_second()).unwrap_or_default();
        let nanosecond = u32::try_from(time.subsec_nanosecond()).unwrap_or_default();
        out.as_mut_vec().extend_from_slice(&second.to_be_bytes());
        out.as_mut_vec().extend_from_slice(&nanosecond.to_be_bytes());
        Ok(())
    });
}

pub(super) fn map(fields: &[Field<'_>], out: &mut Vec<u8>) {
    written(out, |out| write_map_len(out, length(fields)).map(drop));
    for field in fields {
        member(field, out);
    }
}

/// Writes a key and its value.
pub(super) fn member((key, value): &Field<'_>, out: &mut Vec<u8>) {
    written(out, |out| {
        write_str(out, key)?;
        match value {
            Value::Null => nil(out),
            Value::Bool(flag) => write_bool(out, *flag).map_err(|never| match never {}),
            Value::Int(number) => write_sint(out, *number).map(drop),
            Value::Text(text) => write_str(out, text),
            Value::Texts(texts) => {
                write_array_len(out, length(texts))?;
                texts.iter().try_for_each(|text| write_str(out, text))
            }
            Value::Objects(objects) => {
                write_array_len(out, length(objects))?;
                objects.iter().try_for_each(|object| flat(object, out))
            }
        }
    });
}

type Written = Result<(), rmp::encode::ValueWriteError<std::convert::Infallible>>;

fn flat(object: &Object<'_>, out: &mut ByteBuf) -> Written {
    write_map_len(out, length(object))?;
    for (key, value) in object {
        write_str(out, key)?;
        match value {
            Some(text) => write_str(out, text)?,
            None => nil(out)?,
        }
    }
    Ok(())
}

fn nil(out: &mut ByteBuf) -> Written {
    write_nil(out).map_err(|never| match never {})
}

/// Appends to `out`, which can't fail.
fn written(out: &mut Vec<u8>, write: impl FnOnce(&mut ByteBuf) -> Written) {
    let mut buffer = ByteBuf::from_vec(std::mem::take(out));
    write(&mut buffer).ok();
    *out = buffer.into_vec();
}

/// Number of items: an event has a few hundred at most.
fn length<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
