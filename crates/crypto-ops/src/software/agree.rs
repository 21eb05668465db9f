//! Key agreement in software.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};

use crate::agree::{AgreeOp, AgreeStep};
use crate::ephemeral::EphemeralKey;
use crate::error::OpError;
use crate::group::{Group, ML_KEM_768_CIPHERTEXT_LEN, ML_KEM_768_KEY_LEN};
use crate::output::CryptoOutput;
use crate::secret::Secret;

/// The device value of an [`EphemeralKey`] made here. aws-lc wipes it when it is dropped.
struct EphemeralSecret {
    classical: PrivateKey,
    post_quantum: Option<DecapsulationKey>,
}

/// Computes one step of a key exchange.
pub(super) fn execute(op: &AgreeOp) -> Result<CryptoOutput, OpError> {
    let group = op.group();
    let failed = OpError::AgreementFailed { group };
    match op.step() {
        AgreeStep::Start => {
            let (share, private) = start(group).ok_or(failed)?;
            Ok(CryptoOutput::Started { share, key: EphemeralKey::new(group, private) })
        }
        AgreeStep::Complete { key, peer } => {
            let private = key.private::<EphemeralSecret>().ok_or(OpError::ForeignKey { group })?;
            Ok(complete(group, private, peer).map_or(CryptoOutput::BadShare, CryptoOutput::Secret))
        }
        AgreeStep::StartAndComplete { peer } => match group {
            Group::X25519MlKem768 => answer_hybrid(peer).ok_or(failed),
            classical => {
                let (share, private) = start(classical).ok_or(failed)?;
                Ok(match complete(classical, &private, peer) {
                    Some(secret) => CryptoOutput::Agreed { share, secret },
                    None => CryptoOutput::BadShare,
                })
            }
        },
    }
}

/// Makes a client's share. `None` when the library lacks randomness or memory.
fn start(group: Group) -> Option<(Vec<u8>, EphemeralSecret)> {
    let (share, classical) = start_classical(group)?;
    if group != Group::X25519MlKem768 {
        return Some((share, EphemeralSecret { classical, post_quantum: None }));
    }
    let decapsulation = DecapsulationKey::generate(&ML_KEM_768).ok()?;
    let encapsulation = decapsulation.encapsulation_key().ok()?.key_bytes().ok()?;
    let share = [encapsulation.as_ref(), &share].concat();
    Some((share, EphemeralSecret { classical, post_quantum: Some(decapsulation) }))
}

fn start_classical(group: Group) -> Option<(Vec<u8>, PrivateKey)> {
    let key = PrivateKey::generate(classical_algorithm(group)).ok()?;
    let share = key.compute_public_key().ok()?.as_ref().to_vec();
    Some((share, key))
}

/// Combines the key with a server's share. `None` when that is not a public key.
fn complete(group: Group, private: &EphemeralSecret, peer: &[u8]) -> Option<Secret> {
    match (group, &private.post_quantum) {
        (Group::X25519MlKem768, Some(decapsulation)) => {
            let (ciphertext, point) = peer.split_at_checked(ML_KEM_768_CIPHERTEXT_LEN)?;
            let first = decapsulation.decapsulate(Ciphertext::from(ciphertext)).ok()?;
            let second = diffie_hellman(group, &private.classical, point)?;
            Some(joined(first.as_ref(), &second))
        }
        (Group::X25519MlKem768, None) => None,
        (classical, _) => diffie_hellman(classical, &private.classical, peer),
    }
}

/// Answers a client's share in the hybrid group. `None` when the library lacks randomness or memory.
fn answer_hybrid(peer: &[u8]) -> Option<CryptoOutput> {
    let group = Group::X25519MlKem768;
    let (encapsulation, point) = peer.split_at_checked(ML_KEM_768_KEY_LEN)?;
    let (share, key) = start_classical(group)?;
    let Some(second) = diffie_hellman(group, &key, point) else {
        return Some(CryptoOutput::BadShare);
    };
    let Ok(encapsulation) = EncapsulationKey::new(&ML_KEM_768, encapsulation) else {
        return Some(CryptoOutput::BadShare);
    };
    let Ok((ciphertext, first)) = encapsulation.encapsulate() else {
        return Some(CryptoOutput::BadShare);
    };
    Some(CryptoOutput::Agreed {
        share: [ciphertext.as_ref(), &share].concat(),
        secret: joined(first.as_ref(), &second),
    })
}

fn diffie_hellman(group: Group, key: &PrivateKey, peer: &[u8]) -> Option<Secret> {
    let peer = UnparsedPublicKey::new(classical_algorithm(group), peer);
    agree(key, peer, (), |secret| Ok(Secret::from(secret))).ok()
}

fn joined(post_quantum: &[u8], classical: &Secret) -> Secret {
    // Allocated once: a buffer that grows would leave a copy of the secret in freed memory.
    Secret::new([post_quantum, classical.expose()].concat())
}

fn classical_algorithm(group: Group) -> &'static agreement::Algorithm {
    match group {
        Group::X25519 | Group::X25519MlKem768 => &agreement::X25519,
        Group::P256 => &agreement::ECDH_P256,
        Group::P384 => &agreement::ECDH_P384,
    }
}
