//! The part of MessagePack that peers speak: integers, booleans, nil, binary and arrays. Written straight
//! into a buffer; read by hand, so that nothing recurses and no count allocates more than its bytes hold.
//!
//! Depends on bytes alone.

use bytes::Bytes;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// They end too early.
    #[error("it ends inside a value")]
    Cut,
    /// Something follows the last value.
    #[error("{left} bytes follow the last value")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// Another kind of value stands here.
    #[error("expected {expected}, found marker {found:#04x}")]
    Type {
        /// What should stand here.
        expected: &'static str,
        /// MessagePack's first byte.
        found: u8,
    },
    /// A number that the place cannot hold.
    #[error("{what} is out of range")]
    Range {
        /// Of what.
        what: &'static str,
    },
    /// More elements than are allowed here, or than the bytes can hold.
    #[error("{found} {what}, at most {max}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many the array says.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// A record with more or fewer fields.
    #[error("{what} of {found} fields, expected {expected}")]
    Fields {
        /// Which record.
        what: &'static str,
        /// How many it has.
        found: usize,
        /// How many it has in this version.
        expected: usize,
    },
}

/// Appends an unsigned integer in its shortest form.
#[inline]
pub fn put_uint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => put_marked(out, 0xcd, (value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put_marked(out, 0xce, (value as u32).to_be_bytes()),
        _ => put_marked(out, 0xcf, value.to_be_bytes()),
    }
}

/// Appends an integer.
#[inline]
pub fn put_int(out: &mut Vec<u8>, value: i64) {
    match u64::try_from(value) {
        Ok(value) => put_uint(out, value),
        Err(_) => put_marked(out, 0xd3, value.to_be_bytes()),
    }
}

#[inline]
fn put_marked<const N: usize>(out: &mut Vec<u8>, marker: u8, bytes: [u8; N]) {
    out.push(marker);
    out.extend_from_slice(&bytes);
}

/// Appends a boolean.
#[inline]
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

/// Appends nil.
#[inline]
pub fn put_nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

/// Appends bytes.
#[inline]
pub fn put_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..=0xff => out.extend_from_slice(&[0xc4, len as u8]),
        len @ 0x100..=0xffff => put_marked(out, 0xc5, (len as u16).to_be_bytes()),
        len => {
            let len = u32::try_from(len).expect("size was limited when it was proposed");
            put_marked(out, 0xc6, len.to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// Appends the head of an array; its elements follow.
#[inline]
pub fn put_array(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=0xf => out.push(0x90 | len as u8),
        0x10..=0xffff => put_marked(out, 0xdc, (len as u16).to_be_bytes()),
        _ => {
            let len = u32::try_from(len).expect("a batch has fewer elements than that");
            put_marked(out, 0xdd, len.to_be_bytes());
        }
    }
}

/// Appends the head of an array whose length is not known yet, for [`end_array`].
#[inline]
pub fn begin_array(out: &mut Vec<u8>) -> usize {
    put_marked(out, 0xdd, [0; 4]);
    out.len()
}

/// Says how many elements followed the head begun at `start`.
#[inline]
pub fn end_array(out: &mut [u8], start: usize, len: u32) {
    out[start - 4..start].copy_from_slice(&len.to_be_bytes());
}

/// Reads values from a buffer, one after the other.
pub struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    /// Begins at the start of `bytes`.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes, at: 0 }
    }

    /// Bytes that are not read yet.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Says that nothing may follow.
    pub fn end(&self) -> Result<(), PackError> {
        match self.left() {
            0 => Ok(()),
            left => Err(PackError::Trailing { left }),
        }
    }

    fn byte(&mut self) -> Result<u8, PackError> {
        let byte = *self.bytes.get(self.at).ok_or(PackError::Cut)?;
        self.at += 1;
        Ok(byte)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], PackError> {
        let bytes = self.bytes[self.at..].first_chunk::<N>().ok_or(PackError::Cut)?;
        self.at += N;
        Ok(*bytes)
    }

    /// An unsigned integer of any width.
    pub fn uint(&mut self, what: &'static str) -> Result<u64, PackError> {
        Ok(match self.byte()? {
            small @ 0..=0x7f => u64::from(small),
            0xcc => u64::from(self.byte()?),
            0xcd => u64::from(u16::from_be_bytes(self.array_of()?)),
            0xce => u64::from(u32::from_be_bytes(self.array_of()?)),
            0xcf => u64::from_be_bytes(self.array_of()?),
            found => return Err(PackError::Type { expected: what, found }),
        })
    }

    /// An integer of any width.
    pub fn int(&mut self, what: &'static str) -> Result<i64, PackError> {
        Ok(match self.byte()? {
            0xd0 => i64::from(i8::from_be_bytes(self.array_of()?)),
            0xd1 => i64::from(i16::from_be_bytes(self.array_of()?)),
            0xd2 => i64::from(i32::from_be_bytes(self.array_of()?)),
            0xd3 => i64::from_be_bytes(self.array_of()?),
            negative @ 0xe0..=0xff => i64::from(negative as i8),
            _ => {
                self.at -= 1;
                let value = self.uint(what)?;
                return i64::try_from(value).map_err(|_| PackError::Range { what });
            }
        })
    }

    /// A small unsigned integer.
    pub fn small(&mut self, what: &'static str) -> Result<u8, PackError> {
        u8::try_from(self.uint(what)?).map_err(|_| PackError::Range { what })
    }

    /// A boolean.
    pub fn boolean(&mut self, what: &'static str) -> Result<bool, PackError> {
        match self.byte()? {
            0xc2 => Ok(false),
            0xc3 => Ok(true),
            found => Err(PackError::Type { expected: what, found }),
        }
    }

    /// Whether nil stands here; if so it is read.
    pub fn nil(&mut self) -> bool {
        let is_nil = self.bytes.get(self.at) == Some(&0xc0);
        self.at += usize::from(is_nil);
        is_nil
    }

    /// Bytes: a slice of the buffer, not a copy.
    pub fn bin(&mut self, what: &'static str) -> Result<Bytes, PackError> {
        let len = match self.byte()? {
            0xc4 => usize::from(self.byte()?),
            0xc5 => usize::from(u16::from_be_bytes(self.array_of()?)),
            0xc6 => u32::from_be_bytes(self.array_of()?) as usize,
            found => return Err(PackError::Type { expected: what, found }),
        };
        if len > self.left() {
            return Err(PackError::Cut);
        }
        let start = self.at;
        self.at += len;
        Ok(if len == 0 { Bytes::new() } else { self.bytes.slice(start..self.at) })
    }

    fn array(&mut self, what: &'static str) -> Result<usize, PackError> {
        Ok(match self.byte()? {
            short @ 0x90..=0x9f => usize::from(short & 0xf),
            0xdc => usize::from(u16::from_be_bytes(self.array_of()?)),
            0xdd => u32::from_be_bytes(self.array_of()?) as usize,
            found => return Err(PackError::Type { expected: what, found }),
        })
    }

    /// The head of an array of at most `max` elements, each of at least `bytes_min` bytes: so many can be
    /// allocated for.
    pub fn count(
        &mut self,
        what: &'static str,
        bytes_min: usize,
        max: usize,
    ) -> Result<usize, PackError> {
        let found = self.array(what)?;
        let max = max.min(self.left() / bytes_min);
        if found > max { Err(PackError::Count { what, found, max }) } else { Ok(found) }
    }

    /// The head of a record.
    pub fn record(&mut self, what: &'static str, expected: usize) -> Result<(), PackError> {
        let found = self.array(what)?;
        if found == expected { Ok(()) } else { Err(PackError::Fields { what, found, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width() {
        let edges = [0, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 1 << 32, u64::MAX];
        for value in edges {
            let mut out = Vec::new();
            put_uint(&mut out, value);
            assert_eq!(out, rmp_serde::to_vec(&value).unwrap());
            assert_eq!(Reader::new(out.into()).uint("it"), Ok(value));
        }
        for value in [0, 1, -1, -32, -33, -129, -40_000, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            put_int(&mut out, value);
            assert_eq!(Reader::new(out.into()).int("it"), Ok(value));
            let short = rmp_serde::to_vec(&value).unwrap();
            assert_eq!(Reader::new(short.into()).int("it"), Ok(value));
        }
    }

    #[test]
    fn bytes_of_every_width_are_slices() {
        for len in [0, 1, 0xff, 0x100, 0xffff, 0x1_0000] {
            let mut out = Vec::new();
            put_bin(&mut out, &vec![7; len]);
            let bytes = Bytes::from(out);
            let read = Reader::new(bytes.clone()).bin("it").unwrap();
            assert_eq!(read, vec![7; len]);
            let end = bytes.as_ptr_range().end;
            assert!(len == 0 || read.as_ptr_range().end == end, "{len} bytes were copied");
        }
    }

    #[test]
    fn counts_that_the_bytes_cannot_hold_are_refused() {
        let mut out = Vec::new();
        put_array(&mut out, 70_000);
        out.extend(vec![0; 69_999]);
        let count = |max| Reader::new(out.clone().into()).count("things", 1, max);
        let refused = |max| Err(PackError::Count { what: "things", found: 70_000, max });
        assert_eq!(count(usize::MAX), refused(69_999));
        assert_eq!(count(10), refused(10));
        out.push(0);
        assert_eq!(Reader::new(out.into()).count("things", 1, 70_000), Ok(70_000));
    }
}
