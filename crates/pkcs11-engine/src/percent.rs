//! The characters of a PKCS#11 URI, and those that are written with a percent sign (RFC 7512, section 2.3).

/// A side of the question mark.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Path,
    Query,
}

/// What is wrong with a value.
pub(crate) enum Flaw {
    /// A character that must be written with percent signs.
    Character(char),
    /// A percent sign without two digits after it.
    Percent,
}

impl Part {
    /// Whether a value may have this byte as it is.
    pub(crate) fn may_have(self, byte: u8) -> bool {
        let everywhere = byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=".contains(&byte);
        everywhere
            || match self {
                Self::Path => byte == b'&',
                Self::Query => b"/?|".contains(&byte),
            }
    }
}

/// The bytes of a value.
pub(crate) fn decode(value: &str, part: Part) -> Result<Vec<u8>, Flaw> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(character) = rest.next() {
        if character == '%' {
            let mut digit = || rest.next().and_then(|digit| digit.to_digit(16));
            let (Some(high), Some(low)) = (digit(), digit()) else { return Err(Flaw::Percent) };
            bytes.push((16 * high + low) as u8);
        } else if u8::try_from(character).is_ok_and(|byte| part.may_have(byte)) {
            bytes.push(character as u8);
        } else {
            return Err(Flaw::Character(character));
        }
    }
    Ok(bytes)
}

/// The value of these bytes; those stay as they are that `may_stay`.
pub(crate) fn encode(bytes: &[u8], may_stay: impl Fn(u8) -> bool) -> String {
    let mut value = String::with_capacity(bytes.len());
    for &byte in bytes {
        if may_stay(byte) {
            value.push(char::from(byte));
        } else {
            value.push_str(&format!("%{byte:02X}"));
        }
    }
    value
}
