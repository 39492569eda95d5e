//! PM2's wire protocol, without I/O. A message is a byte with version and count, then each argument as a big-endian length and its
//! bytes. An argument is `j:` and JSON, or `s:` and text.
//!
//! Source: measured with PM2 5.4.3, 6.0.14 and 7.0.4, whose daemons use the same protocol.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// The longest argument that is accepted; PM2's own lists are about 2 KB per process.
const MAX_ARGUMENT: usize = 256 * 1024 * 1024;
const VERSION: u8 = 1;

/// The bytes are not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// An argument is longer than any that PM2 sends.
    #[error("an argument of {0} bytes is longer than any that PM2 sends")]
    TooLong(usize),
    /// The message lacks a reply or its id.
    #[error("a message of {0} arguments is not a reply")]
    Arguments(usize),
    /// An argument has another type than expected.
    #[error("an argument does not begin with `{0}`")]
    Prefix(&'static str),
    /// An argument is not JSON.
    #[error("an argument is not JSON")]
    Json(#[source] serde_json::Error),
}

/// The unparsed reply to one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reply<'a> {
    /// The id of the call.
    pub(crate) id: &'a [u8],
    body: &'a [u8],
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "A: Deserialize<'de>"))]
struct Body<A> {
    #[serde(default = "First::none")]
    args: First<A>,
    error: Option<Value>,
}

/// The first element of a list; the others are skipped.
struct First<A>(Option<A>);

impl<A> First<A> {
    fn none() -> Self {
        Self(None)
    }
}

impl<'de, A: Deserialize<'de>> Deserialize<'de> for First<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<A>(PhantomData<A>);
        impl<'de, A: Deserialize<'de>> Visitor<'de> for Elements<A> {
            type Value = First<A>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of arguments")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<First<A>, S::Error> {
                let first = seq.next_element()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

impl<'a> Reply<'a> {
    /// Restores a reply from a kept body.
    pub(crate) fn kept(body: &'a [u8]) -> Self {
        Self { id: b"", body }
    }

    /// The body, for keeping.
    pub(crate) fn body(self) -> &'a [u8] {
        self.body
    }

    /// Parses the result, or PM2's own error.
    ///
    /// # Errors
    /// A JSON error when it is neither.
    pub(crate) fn read<A: Deserialize<'a>>(self) -> serde_json::Result<Result<A, String>> {
        let body: Body<A> = serde_json::from_slice(self.body)?;
        Ok(match (body.error, body.args.0) {
            (Some(Value::String(error)), _) => Err(error),
            (Some(error), _) => Err(error.to_string()),
            (None, Some(first)) => Ok(first),
            (None, None) => Ok(serde_json::from_str("null")?),
        })
    }
}

/// Encodes a call.
#[must_use]
pub(crate) fn encode_call(id: &str, method: &str, args: &[Value]) -> Vec<u8> {
    let call = json!({ "type": "call", "method": method, "args": args });
    encode(&[&format!("j:{call}"), &format!("s:{id}")])
}

/// Encodes a message with these arguments.
fn encode(args: &[&str]) -> Vec<u8> {
    // There are two arguments, far below the limits of count and length.
    let count = u8::try_from(args.len()).unwrap_or(u8::MAX) & 0x0f;
    let mut bytes = vec![VERSION << 4 | count];
    for arg in args {
        bytes.extend(u32::try_from(arg.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(arg.as_bytes());
    }
    bytes
}

/// Buffers up to this size are not worth shrinking.
const SMALL: usize = 64 * 1024;

/// The announced length of the first argument.
fn announced(bytes: &[u8]) -> usize {
    let length = bytes.get(1..5).and_then(|b| <[u8; 4]>::try_from(b).ok());
    length.map_or(0, |length| u32::from_be_bytes(length) as usize)
}

/// Allocates a buffer of more than 32 MiB: malloc maps and returns a block of this size as a whole, and only the used part takes
/// memory. Smaller blocks would stay allocated in a process that runs for months and needs them only for a moment each second.
///
/// Source: glibc, mallopt(3), `M_MMAP_THRESHOLD`: the threshold grows with freed blocks, up to 32 MiB.
fn roomy() -> Vec<u8> {
    Vec::with_capacity(33 << 20)
}

/// Collects bytes and returns complete replies.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
    /// How much of the buffer has been consumed.
    read: usize,
}

impl Decoder {
    /// Adds bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        if self.buffer.is_empty() && announced(bytes) > SMALL {
            self.buffer = roomy();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete reply, if there is one.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are not a reply. The connection is unusable after that.
    pub(crate) fn next_reply(&mut self) -> Result<Option<Reply<'_>>, WireError> {
        let Some((args, used)) = split(&self.buffer[self.read..])? else {
            return Ok(None);
        };
        let reply = read_reply(&args)?;
        self.read += used;
        Ok(Some(reply))
    }

    /// Releases the memory of a large reply that has been read.
    pub(crate) fn shrink(&mut self) {
        if self.read == self.buffer.len() {
            self.buffer = Vec::new();
            self.read = 0;
        }
    }
}

impl Decoder {
    /// Consumes the next complete message, and returns whether its first argument starts with `topic`.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are not a message.
    pub(crate) fn next_is_about(&mut self, topic: &[u8]) -> Result<Option<bool>, WireError> {
        let Some((args, used)) = split(&self.buffer[self.read..])? else {
            return Ok(None);
        };
        let about = args.first().is_some_and(|first| first.starts_with(topic));
        self.read += used;
        Ok(Some(about))
    }
}

type Split<'a> = Option<(Vec<&'a [u8]>, usize)>;

/// The arguments of the first message in `bytes` and its length, if it is complete.
fn split(bytes: &[u8]) -> Result<Split<'_>, WireError> {
    let Some((head, _)) = bytes.split_first() else {
        return Ok(None);
    };
    let count = usize::from(head & 0x0f);
    let mut args = Vec::with_capacity(count);
    let mut at = 1;
    for _ in 0..count {
        let Some(length) = bytes
            .get(at..at + 4)
            .and_then(|b| <[u8; 4]>::try_from(b).ok())
        else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_ARGUMENT {
            return Err(WireError::TooLong(length));
        }
        let Some(arg) = bytes.get(at + 4..at + 4 + length) else {
            return Ok(None);
        };
        args.push(arg);
        at += 4 + length;
    }
    Ok(Some((args, at)))
}

fn read_reply<'a>(args: &[&'a [u8]]) -> Result<Reply<'a>, WireError> {
    let [body, id] = args else {
        return Err(WireError::Arguments(args.len()));
    };
    let body = body.strip_prefix(b"j:").ok_or(WireError::Prefix("j:"))?;
    let id = id.strip_prefix(b"s:").ok_or(WireError::Prefix("s:"))?;
    Ok(Reply { id, body })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_has_the_bytes_that_pm2_reads() {
        let bytes = encode_call("21625:0", "getVersion", &[json!({})]);
        assert_eq!(bytes[0], 0x12);
        assert_eq!(&bytes[1..5], &[0, 0, 0, 0x33]);
        assert!(bytes.ends_with(b"\0\0\0\x09s:21625:0"));
    }

    #[test]
    fn hostile_lengths_are_refused_without_being_believed() {
        let mut decoder = Decoder::default();
        decoder.feed(&[0x12, 0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(decoder.next_reply(), Err(WireError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn replies_survive_any_chunking(
            ids in prop::collection::vec("[a-z0-9:]{1,12}", 1..6),
            text in ".{0,40}",
            chunk in 1_usize..50,
        ) {
            let mut bytes = Vec::new();
            for (n, id) in ids.iter().enumerate() {
                let body = if n % 2 == 0 {
                    json!({ "args": [text, "more"] })
                } else {
                    json!({ "error": text, "stack": "at" })
                };
                bytes.extend(encode(&[&format!("j:{body}"), &format!("s:{id}")]));
            }
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for part in bytes.chunks(chunk) {
                decoder.feed(part);
                while let Some(reply) = decoder.next_reply().unwrap() {
                    let result = reply.read::<Value>().unwrap();
                    got.push((reply.id.to_vec(), result));
                }
            }
            let want: Vec<_> = ids.iter().enumerate().map(|(n, id)| {
                let result = if n % 2 == 0 { Ok(json!(text)) } else { Err(text.clone()) };
                (id.as_bytes().to_vec(), result)
            }).collect();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(reply)) = decoder.next_reply() {
                let _ = reply.read::<Value>();
            }
        }
    }
}
