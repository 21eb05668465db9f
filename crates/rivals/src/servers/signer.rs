//! A rustls key whose `sign` does something else than signing in software.

use std::fmt;
use std::sync::Arc;

use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use crate::Problem;
use crate::site::Site;

/// Gets the message, and returns its signature.
type Sign = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// The site's key to rustls, signing by `sign`.
pub(crate) fn signing_key(
    site: &Site,
    sign: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> Result<Arc<dyn SigningKey>, Problem> {
    Ok(Arc::new(Key { software: site.software_key()?, sign: Arc::new(sign) }))
}

// [user code]
struct Key {
    /// For its type and schemes only.
    software: Arc<dyn SigningKey>,
    sign: Arc<Sign>,
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = self.software.choose_scheme(offered)?.scheme();
        Some(Box::new(WithScheme { scheme, sign: Arc::clone(&self.sign) }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.software.algorithm()
    }
}

struct WithScheme {
    scheme: SignatureScheme,
    sign: Arc<Sign>,
}

impl Signer for WithScheme {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok((self.sign)(message))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
// [end of user code]

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl fmt::Debug for WithScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithScheme")
    }
}
