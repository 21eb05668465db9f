//! Session tickets in software.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::error::OpError;
use crate::output::CryptoOutput;
use crate::secret::Secret;
use crate::ticket::{NONCE_LEN, TAG_LEN, TicketKey, TicketOp};

/// Seals or opens a ticket.
pub(super) fn execute(op: &TicketOp) -> Result<CryptoOutput, OpError> {
    match op {
        TicketOp::Seal { key, state } => {
            seal(key, state).map(CryptoOutput::Sealed).map_err(|Unspecified| OpError::SealFailed)
        }
        TicketOp::Open { key, ticket } => Ok(CryptoOutput::Opened(open(key, ticket))),
    }
}

fn seal(key: &TicketKey, state: &Secret) -> Result<Vec<u8>, Unspecified> {
    // Random nonces repeat with a chance of 2^-32 after 2^32 tickets under one key (NIST SP 800-38D, 8.3): at 10,000 a
    // second that is five days, and keys rotate faster.
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce)?;
    let mut sealed = Zeroizing::new(Vec::with_capacity(state.expose().len() + TAG_LEN));
    sealed.extend_from_slice(state.expose());
    let (aad, unique) = (Aad::from(key.name()), Nonce::assume_unique_for_key(nonce));
    cipher(key)?.seal_in_place_append_tag(unique, aad, &mut *sealed)?;
    Ok([key.name().as_slice(), &nonce, &sealed].concat())
}

/// `None` when `key` did not seal the ticket.
fn open(key: &TicketKey, ticket: &[u8]) -> Option<Secret> {
    let rest = ticket.strip_prefix(key.name())?;
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    let state = cipher(key).ok()?.open_in_place(nonce, Aad::from(key.name()), &mut opened).ok()?;
    Some(Secret::from(&*state))
}

fn cipher(key: &TicketKey) -> Result<LessSafeKey, Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose())?))
}
