//! Encodings of signatures and of what is signed, for devices whose interface has others than TLS.
//!
//! | device | gives or wants | in TLS |
//! | --- | --- | --- |
//! | PKCS#11 `CKM_ECDSA`, Azure Key Vault, WebCrypto, JWT | ECDSA as r and s side by side | DER: [`der_from_raw`] |
//! | PKCS#11 `CKM_RSA_PKCS` | a digest with its name before it | the device's input: [`digest_info`] |

use crate::der::{self, INTEGER, SEQUENCE};

/// The DER of an ECDSA signature, `SEQUENCE { INTEGER r, INTEGER s }`, from the two numbers side by side, each of the same
/// length: 32 bytes on P-256, 48 on P-384, 66 on P-521. `None` if `raw` is empty, of odd length, or longer than 132 bytes.
///
/// ```
/// use crypto_ops::encoding::der_from_raw;
/// assert_eq!(der_from_raw(&[0, 1, 0x80, 0]).unwrap(), [0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 0]);
/// ```
pub fn der_from_raw(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.is_empty() || !raw.len().is_multiple_of(2) || raw.len() > 2 * 66 {
        return None;
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    let mut body = Vec::with_capacity(raw.len() + 6);
    for number in [r, s] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = &number[zeros.min(number.len() - 1)..];
        let sign = &[0][..usize::from(digits[0] > 0x7f)];
        // At most 67 bytes.
        body.extend([INTEGER, (sign.len() + digits.len()) as u8]);
        body.extend(sign.iter().chain(digits));
    }
    // At most 138 bytes.
    let length = body.len() as u8;
    let mut der = vec![SEQUENCE];
    der.extend(&[0x81][..usize::from(length > 0x7f)]);
    der.push(length);
    der.append(&mut body);
    Some(der)
}

/// The two numbers of an ECDSA signature in DER side by side, each `len` bytes long: the reverse of [`der_from_raw`].
/// `None` if `der` is no such signature, or a number is longer.
pub fn raw_from_der(der: &[u8], len: usize) -> Option<Vec<u8>> {
    let (body, after) = der::element(der, SEQUENCE)?;
    let (r, body) = der::element(body, INTEGER)?;
    let (s, rest) = der::element(body, INTEGER)?;
    if !rest.is_empty() || !after.is_empty() {
        return None;
    }
    let mut raw = vec![0; 2 * len];
    for (number, place) in [r, s].into_iter().zip(raw.chunks_exact_mut(len.max(1))) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = &number[zeros..];
        let start = len.checked_sub(digits.len())?;
        place[start..].copy_from_slice(digits);
    }
    Some(raw)
}

/// The DER of a `DigestInfo` (RFC 8017, section 9.2) around a digest of SHA-256, SHA-384 or SHA-512, told by its length: what
/// RSA with PKCS #1 v1.5 padding signs. `None` for another length.
pub fn digest_info(digest: &[u8]) -> Option<Vec<u8>> {
    let number = match digest.len() {
        32 => 1,
        48 => 2,
        64 => 3,
        _ => return None,
    };
    let length = digest.len() as u8;
    // SEQUENCE { SEQUENCE { OBJECT IDENTIFIER of the hash, NULL }, OCTET STRING }
    let mut info = vec![SEQUENCE, 17 + length, SEQUENCE, 13, 6, 9];
    info.extend([0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, number, 5, 0, 4, length]);
    info.extend(digest);
    Some(info)
}

/// Modulus and public exponent in a PKCS #1 `RSAPublicKey` (RFC 8017, appendix A.1.1), big-endian. `None` if `key` is no such
/// structure.
pub fn rsa_public_numbers(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, _) = der::element(key, SEQUENCE)?;
    let (modulus, body) = der::element(body, INTEGER)?;
    let (exponent, _) = der::element(body, INTEGER)?;
    Some((modulus, exponent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_pair_of_numbers_is_the_same_after_der(
            half in prop::sample::select(vec![1usize, 32, 48, 66]),
            bytes in prop::collection::vec(any::<u8>(), 132),
            zeros in 0usize..70,
        ) {
            let mut raw = bytes[..2 * half].to_vec();
            raw[..zeros.min(2 * half)].fill(0);
            let der = der_from_raw(&raw).unwrap();
            prop_assert_eq!(raw_from_der(&der, half), Some(raw));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..80), len in 0usize..70,
        ) {
            let _ = raw_from_der(&bytes, len);
            let _ = rsa_public_numbers(&bytes);
            prop_assert_eq!(der_from_raw(&bytes).is_some(), !bytes.is_empty() && bytes.len().is_multiple_of(2));
            prop_assert_eq!(digest_info(&bytes).is_some(), [32, 48, 64].contains(&bytes.len()));
        }
    }

    #[test]
    fn the_digest_info_of_sha256_is_that_of_the_rfc() {
        let info = digest_info(&[7; 32]).unwrap();
        let prefix = [
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x01, 0x05, 0x00, 0x04, 0x20,
        ];
        assert_eq!(info[..19], prefix);
        assert_eq!(info[19..], [7; 32]);
    }

    #[test]
    fn a_signature_that_is_too_long_or_has_more_behind_it_is_none() {
        assert_eq!(der_from_raw(&[1; 134]), None);
        let mut der = der_from_raw(&[1; 64]).unwrap();
        assert_eq!(raw_from_der(&der, 31), None, "a number of 32 bytes");
        der.push(0);
        assert_eq!(raw_from_der(&der, 32), None);
    }
}
