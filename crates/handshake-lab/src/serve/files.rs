//! The files of a server's certificates: which there are, and how they are read.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use crypto_ops::{KeyHandle, SoftwareKeys};

use super::identity::{Identity, IdentityError};

/// Where certificates and keys are. The first certificate is for clients that name no host of the others, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertFiles {
    /// These, each with its key.
    Pairs(Vec<(PathBuf, PathBuf)>),
    /// All in a directory, in the order of their names: `NAME.pem` with `NAME.key` beside it, and `NAME/fullchain.pem` with
    /// `NAME/privkey.pem`. A `NAME.pem` without `NAME.key` holds its key itself.
    Directory(PathBuf),
}

impl CertFiles {
    /// Reads all certificates and keys. The keys are loaded into the store `keys`.
    ///
    /// # Errors
    /// What is wrong with one of the files; then the store has no other keys than before, of those that are not
    /// `in_use`.
    pub fn load(
        &self,
        keys: &Arc<SoftwareKeys>,
        in_use: &[KeyHandle],
    ) -> Result<Vec<Identity>, IdentityError> {
        let mut loaded: Vec<Identity> = Vec::new();
        for (certificate, key) in self.pairs()? {
            match Identity::from_files_into(Arc::clone(keys), &certificate, &key) {
                Ok(identity) => loaded.push(identity),
                Err(error) => {
                    for one in loaded.iter().filter(|one| !in_use.contains(&one.handle)) {
                        keys.remove(&one.handle);
                    }
                    return Err(error);
                }
            }
        }
        Ok(loaded)
    }

    /// The files as they are now.
    fn pairs(&self) -> Result<Vec<(PathBuf, PathBuf)>, IdentityError> {
        let directory = match self {
            Self::Pairs(pairs) => return Ok(pairs.clone()),
            Self::Directory(directory) => directory,
        };
        let unreadable = |error: std::io::Error| IdentityError::Directory {
            path: directory.clone(),
            reason: error.to_string(),
        };
        let entries = std::fs::read_dir(directory).map_err(unreadable)?;
        let paths: Result<Vec<PathBuf>, _> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut paths = paths.map_err(unreadable)?;
        paths.sort();
        let pairs: Vec<_> = paths.iter().filter_map(|path| pair(path)).collect();
        if pairs.is_empty() {
            let reason = "no certificate in it".to_owned();
            return Err(IdentityError::Directory { path: directory.clone(), reason });
        }
        Ok(pairs)
    }
}

/// The certificate and key that an entry of a directory stands for.
fn pair(entry: &Path) -> Option<(PathBuf, PathBuf)> {
    let chain = entry.join("fullchain.pem");
    if chain.is_file() {
        return Some((chain, entry.join("privkey.pem")));
    }
    let is_certificate = entry.extension() == Some(OsStr::new("pem")) && entry.is_file();
    let key = entry.with_extension("key");
    is_certificate.then(|| {
        let key = if key.is_file() { key } else { entry.to_owned() };
        (entry.to_owned(), key)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{certs::TestPki, scenario::KeyType};

    #[test]
    fn a_directory_is_read_in_the_order_of_its_names_and_as_a_whole() {
        let [a, b, c] = [(); 3].map(|()| TestPki::generate(KeyType::P256).expect("certificates"));
        let directory = tempfile::TempDir::new().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let files = CertFiles::Directory(directory.path().to_owned());
        let keys = Arc::<SoftwareKeys>::default();
        let load = || files.load(&keys, &[]).map_err(|error| error.to_string());
        let refused = load().expect_err("empty");
        assert!(refused.contains("--cert-dir") && refused.contains("no certificate"), "{refused}");

        fs::write(at("b.pem"), &b.certificate_pem).expect("a file");
        fs::write(at("b.key"), &b.key_pem).expect("a file");
        fs::write(at("c.pem"), format!("{}{}", c.key_pem, c.certificate_pem)).expect("a file");
        fs::create_dir(at("a")).expect("a directory");
        fs::write(at("a/fullchain.pem"), &a.certificate_pem).expect("a file");
        fs::write(at("a/privkey.pem"), &a.key_pem).expect("a file");
        fs::write(at("b.ocsp"), "a response").expect("a file");
        fs::write(at("README"), "no certificate").expect("a file");
        let loaded = load().expect("good files");
        let chains: Vec<_> = loaded.iter().map(|one| one.chain[0].clone()).collect();
        assert_eq!(chains, [&a, &b, &c].map(|pki| pki.certificate.clone()));
        let paths: Vec<_> = loaded.iter().map(|one| one.file.clone()).collect();
        assert_eq!(paths, ["a/fullchain.pem", "b.pem", "c.pem"].map(|name| Some(at(name))));

        // One that is bad spoils all, and leaves no key that only this call has loaded.
        let handles: Vec<_> = loaded.into_iter().map(|one| one.handle).collect();
        fs::write(at("c.pem"), &c.certificate_pem).expect("a file");
        files.load(&keys, &handles[1..]).expect_err("no key");
        assert_eq!(
            handles.iter().map(|key| keys.remove(key)).collect::<Vec<_>>(),
            [false, true, true]
        );
    }
}
