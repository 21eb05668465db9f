//! A parser of PEM files (RFC 7468) that accepts the encodings of other systems.
//!
//! Text between the blocks may be in any encoding, lines may end in CR or CRLF, the file may begin with a byte-order mark,
//! and it may be in UTF-16. Blocks are found by their `-----BEGIN` lines; text between them is ignored.

use std::fmt;

use rustls_pki_types::pem::{self, PemObject as _, SectionKind};
use zeroize::Zeroizing;

use crate::der::DerKind;

/// The content of a file, parsed as PEM.
///
/// It is wiped when the value is dropped, because it may be a private key. `Debug` shows labels only.
pub struct PemFile {
    blocks: Vec<PemBlock>,
    not_pem: Option<NotPem>,
}

/// One block of a PEM file.
pub struct PemBlock {
    label: String,
    /// The base64, in lines.
    body: Zeroizing<Vec<u8>>,
    encrypted: bool,
    error: Option<PemError>,
}

/// The kind of a file without any PEM block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPem {
    /// Empty, or only white space.
    Empty,
    /// One DER structure.
    Der(DerKind),
    /// Anything else.
    Unknown,
}

/// Error for a block that is not well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// The `-----BEGIN` line does not end in five hyphens.
    #[error("its -----BEGIN line is not well-formed")]
    BadBegin,
    /// The `-----END` line is missing.
    #[error("it has no -----END line")]
    NoEnd,
    /// The content is not base64.
    #[error("it is not base64")]
    NotBase64,
}

impl PemFile {
    /// Finds the blocks in the content of a file, without decoding them.
    pub fn parse(bytes: &[u8]) -> Self {
        let decoded = from_utf16(bytes);
        let bytes = decoded.as_ref().map_or(bytes, |decoded| decoded.as_slice());
        let blocks = blocks(bytes);
        let not_pem = blocks.is_empty().then(|| match DerKind::of(bytes) {
            _ if bytes.iter().all(u8::is_ascii_whitespace) => NotPem::Empty,
            Some(kind) => NotPem::Der(kind),
            None => NotPem::Unknown,
        });
        Self { blocks, not_pem }
    }

    /// The blocks, in file order.
    pub fn blocks(&self) -> &[PemBlock] {
        &self.blocks
    }

    /// The kind of the file when it has no block.
    pub fn not_pem(&self) -> Option<NotPem> {
        self.not_pem
    }

    /// The content as a phrase for a message: the labels of the blocks, or the kind of a file without any.
    pub fn found(&self) -> String {
        match self.not_pem {
            Some(NotPem::Empty) => "an empty file".to_owned(),
            Some(NotPem::Der(kind)) => kind.to_string(),
            Some(NotPem::Unknown) => "no -----BEGIN line at all".to_owned(),
            None => {
                let labels: Vec<&str> = self.blocks.iter().map(PemBlock::label).collect();
                labels.join(", ")
            }
        }
    }
}

impl PemBlock {
    /// The label in its `-----BEGIN` line, for example `CERTIFICATE`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether its header says that it is encrypted (`Proc-Type: 4,ENCRYPTED`, RFC 1421).
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Decodes the content.
    ///
    /// # Errors
    ///
    /// [`PemError`] when the block is not well-formed. The error quotes nothing of the content.
    pub fn der(&self) -> Result<Zeroizing<Vec<u8>>, PemError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        // Only under this label does the library decode in constant time.
        let (begin, end) = ("-----BEGIN PRIVATE KEY-----\n", "-----END PRIVATE KEY-----\n");
        let mut text =
            Zeroizing::new(Vec::with_capacity(begin.len() + self.body.len() + end.len()));
        text.extend_from_slice(begin.as_bytes());
        text.extend_from_slice(&self.body);
        text.extend_from_slice(end.as_bytes());
        match <(SectionKind, Vec<u8>)>::from_pem_slice(&text) {
            Ok((_, der)) => Ok(Zeroizing::new(der)),
            // The library does not accept a section with an empty body.
            Err(pem::Error::NoItemsFound) => Ok(Zeroizing::default()),
            Err(_) => Err(PemError::NotBase64),
        }
    }
}

impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemFile").field("found", &self.found()).finish_non_exhaustive()
    }
}

impl fmt::Debug for PemBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemBlock").field("label", &self.label).finish_non_exhaustive()
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";
const HYPHENS: &[u8] = b"-----";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The blocks in `bytes`. A block begins at the start of a line, or directly after the hyphens that end another, as in
/// concatenated files without a final line end.
fn blocks(mut bytes: &[u8]) -> Vec<PemBlock> {
    let mut blocks = Vec::new();
    while let Some(line) = next_begin(bytes) {
        let line_end = line.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(line.len());
        let (first, rest) = line.split_at(line_end);
        let name = first.get(BEGIN.len()..).unwrap_or_default();
        let Some(name_end) = find(name, HYPHENS) else {
            let label = printable(without_hyphens(name.trim_ascii_end()));
            let error = Some(PemError::BadBegin);
            blocks.push(PemBlock { label, body: Zeroizing::default(), encrypted: false, error });
            bytes = rest;
            continue;
        };
        let name = name.get(..name_end).unwrap_or_default();
        let inside = line.get(BEGIN.len() + name_end + HYPHENS.len()..).unwrap_or_default();
        let end = [b"-----END ", name, HYPHENS].concat();
        let until = find(inside, &end);
        // An END line after the next BEGIN line belongs to that block.
        let next = next_begin(inside).map(|next| inside.len() - next.len());
        let (content, after, error) = match (until, next) {
            (Some(until), next) if next.is_none_or(|next| until < next) => {
                (&inside[..until], &inside[until + end.len()..], None)
            }
            (_, Some(next)) => (&inside[..next], &inside[next..], Some(PemError::NoEnd)),
            (_, None) => (inside, &inside[inside.len()..], Some(PemError::NoEnd)),
        };
        let (encrypted, body) = body(content);
        blocks.push(PemBlock { label: printable(name), body, encrypted, error });
        bytes = after;
    }
    blocks
}

/// `bytes` from the start of the next block.
fn next_begin(bytes: &[u8]) -> Option<&[u8]> {
    let mut from = 0;
    loop {
        let at = from + find(bytes.get(from..)?, BEGIN)?;
        let before = &bytes[..at];
        let line_start =
            before.iter().rposition(|byte| b"\r\n".contains(byte)).map_or(0, |n| n + 1);
        let line = before[line_start..].trim_ascii();
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii();
        if line.is_empty() || line.ends_with(HYPHENS) {
            return bytes.get(at..);
        }
        from = at + BEGIN.len();
    }
}

/// Whether the header of a block says that it is encrypted, and the trimmed lines after the header.
fn body(content: &[u8]) -> (bool, Zeroizing<Vec<u8>>) {
    let mut encrypted = false;
    let mut body = Zeroizing::new(Vec::with_capacity(content.len() + 1));
    let mut in_header = false;
    for line in content.split(|byte| b"\r\n".contains(byte)).map(<[u8]>::trim_ascii) {
        // A header line contains a colon, which is not base64. It continues until the next empty line.
        if line.contains(&b':') {
            in_header = true;
            encrypted |= line.starts_with(b"Proc-Type") && find(line, b"ENCRYPTED").is_some();
        } else if line.is_empty() {
            in_header = false;
        } else if !in_header {
            body.extend_from_slice(line);
            body.push(b'\n');
        }
    }
    (encrypted, body)
}

/// Converts a file in UTF-16 of either byte order to UTF-8; `None` for any other file.
fn from_utf16(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const LITTLE: &[u8] = b"-\0-\0-\0-\0-\0";
    const BIG: &[u8] = b"\0-\0-\0-\0-\0-";
    let has = |hyphens| find(bytes, hyphens).is_some_and(|at| at.is_multiple_of(2));
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ if has(LITTLE) => u16::from_le_bytes,
        _ if has(BIG) => u16::from_be_bytes,
        _ => return None,
    };
    // Allocated once: a buffer that grows would leave a copy of the key in freed memory.
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() * 2));
    let units = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
    for char in char::decode_utf16(units.filter(|&unit| unit != 0xfeff)) {
        let char = char.unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(text)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A label for a message: shortened, and without control characters.
fn printable(label: &[u8]) -> String {
    const LONGEST: usize = 40;
    let char =
        |&byte: &u8| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' };
    label.iter().take(LONGEST).map(char).collect()
}

/// `bytes` without trailing hyphens.
fn without_hyphens(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != b'-').map_or(0, |at| at + 1);
    &bytes[..end]
}
