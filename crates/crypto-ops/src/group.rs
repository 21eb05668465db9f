//! Key-exchange groups: code points, and the form of shares and secrets.

use std::fmt;

use engine_core::Kind;

/// A key-exchange group.
///
/// The number is the `NamedGroup` code point of RFC 8446, section 4.2.7, and of the draft draft-ietf-tls-ecdhe-mlkem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum Group {
    /// `x25519` (RFC 7748).
    X25519 = 0x001d,
    /// `secp256r1`: ECDH on NIST P-256. Shares are uncompressed points.
    P256 = 0x0017,
    /// `secp384r1`: ECDH on NIST P-384. Shares are uncompressed points.
    P384 = 0x0018,
    /// `X25519MLKEM768`: ML-KEM-768 (FIPS 203) and X25519 side by side, in this order.
    X25519MlKem768 = 0x11ec,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 4] = [Self::X25519, Self::P256, Self::P384, Self::X25519MlKem768];

    /// The TLS code point.
    pub const fn to_u16(self) -> u16 {
        self as u16
    }

    /// The group with this TLS code point, or `None` when it is not supported.
    pub fn from_u16(code_point: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.to_u16() == code_point)
    }

    /// The [`Kind`] of each step of a key exchange in this group.
    pub const fn agree_kind(self) -> Kind {
        match self {
            Self::X25519 => Kind::new("agree-x25519"),
            Self::P256 => Kind::new("agree-p256"),
            Self::P384 => Kind::new("agree-p384"),
            Self::X25519MlKem768 => Kind::new("agree-x25519mlkem768"),
        }
    }

    /// The classical half of a hybrid group, which a server may choose alone. Its share is the end of a client's share.
    pub const fn classical_half(self) -> Option<Self> {
        match self {
            Self::X25519MlKem768 => Some(Self::X25519),
            _ => None,
        }
    }

    /// The length in bytes of a client's share, which starts an exchange.
    pub const fn client_share_len(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::P256 => 65,
            Self::P384 => 97,
            Self::X25519MlKem768 => ML_KEM_768_KEY_LEN + 32,
        }
    }

    /// The length in bytes of a server's share, which answers a client's.
    pub const fn server_share_len(self) -> usize {
        match self {
            Self::X25519MlKem768 => ML_KEM_768_CIPHERTEXT_LEN + 32,
            classical => classical.client_share_len(),
        }
    }

    /// The length in bytes of the shared secret.
    pub const fn secret_len(self) -> usize {
        match self {
            Self::X25519 | Self::P256 => 32,
            Self::P384 => 48,
            Self::X25519MlKem768 => 64,
        }
    }

    /// Whether `share` has the form of a client's share. It may still not be a valid public key.
    pub fn is_client_share(self, share: &[u8]) -> bool {
        share.len() == self.client_share_len() && self.is_uncompressed(share)
    }

    /// Whether `share` has the form of a server's share. It may still not be a valid public key.
    pub fn is_server_share(self, share: &[u8]) -> bool {
        share.len() == self.server_share_len() && self.is_uncompressed(share)
    }

    /// Whether `secret` has the form of a shared secret: the right length and not all zeros, the result of a point of
    /// small order (RFC 7748, section 6.1; RFC 8446, section 7.4.2).
    pub fn is_secret(self, secret: &[u8]) -> bool {
        let is_zero = |half: &[u8]| half.iter().fold(0, |or, byte| or | byte) == 0;
        secret.len() == self.secret_len() && !secret.chunks(self.half_len()).any(is_zero)
    }

    /// The length of each part of the secret.
    const fn half_len(self) -> usize {
        match self.classical_half() {
            Some(half) => half.secret_len(),
            None => self.secret_len(),
        }
    }

    /// TLS allows no other encoding of points (RFC 8446, section 4.2.8.2; RFC 8422, section 5.4.1).
    fn is_uncompressed(self, share: &[u8]) -> bool {
        !matches!(self, Self::P256 | Self::P384) || share.first() == Some(&4)
    }
}

/// The length in bytes of an ML-KEM-768 encapsulation key (FIPS 203, table 3).
pub(crate) const ML_KEM_768_KEY_LEN: usize = 1184;
/// The length in bytes of an ML-KEM-768 ciphertext (FIPS 203, table 3).
pub(crate) const ML_KEM_768_CIPHERTEXT_LEN: usize = 1088;

/// The name in the TLS registry, such as `secp256r1`.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X25519 => "x25519",
            Self::P256 => "secp256r1",
            Self::P384 => "secp384r1",
            Self::X25519MlKem768 => "X25519MLKEM768",
        })
    }
}
