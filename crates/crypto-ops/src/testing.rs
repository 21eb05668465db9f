//! Outputs that no computation has made, and wrong ones: for simulated devices, benchmarks and tests. Feature `testing`.

use crate::agree::{AgreeOp, AgreeStep};
use crate::ephemeral::EphemeralKey;
use crate::group::Group;
use crate::op::CryptoOp;
use crate::output::CryptoOutput;
use crate::scheme::Algorithm;
use crate::secret::Secret;
use crate::sign::SignOp;
use crate::ticket::{TicketKey, TicketOp};

/// The byte that fakes consist of. Its top bit is clear, so a fake number is below every modulus and every group order.
const FILL: u8 = 0x5a;

/// An output of the right form and no value, at no cost.
///
/// With it a benchmark shows what handshakes would cost if the operations were free, with a peer that checks nothing. A
/// fake signature fails [`CryptoOp::check`](engine_core::Work::check); the others pass, as only their form is checked.
pub fn fake_output(op: &CryptoOp) -> CryptoOutput {
    match op {
        CryptoOp::Sign(op) => CryptoOutput::Signature(fake_signature(op).into()),
        CryptoOp::Agree(op) => fake_agreement(op),
        CryptoOp::Ticket(TicketOp::Seal { key, state }) => {
            let mut ticket = key.name().to_vec();
            ticket.resize(state.expose().len() + TicketKey::OVERHEAD, FILL);
            CryptoOutput::Sealed(ticket)
        }
        CryptoOp::Ticket(TicketOp::Open { .. }) => CryptoOutput::Opened(None),
    }
}

/// `output` with one bit flipped, as a faulty device would return it.
#[must_use]
pub fn flip_bit(mut output: CryptoOutput) -> CryptoOutput {
    let bytes = match &mut output {
        CryptoOutput::Signature(bytes) => bytes.as_mut_slice(),
        CryptoOutput::Sealed(bytes) => bytes.as_mut_slice(),
        CryptoOutput::Started { share, .. } => share,
        CryptoOutput::Secret(secret)
        | CryptoOutput::Agreed { secret, .. }
        | CryptoOutput::Opened(Some(secret)) => secret.expose_mut(),
        CryptoOutput::BadShare | CryptoOutput::Opened(None) => &mut [],
    };
    if let Some(byte) = bytes.last_mut() {
        *byte ^= 1;
    }
    output
}

fn fake_signature(op: &SignOp) -> Vec<u8> {
    let ecdsa = |scalar_len: u8| {
        let scalar = [&[0x02, scalar_len][..], &vec![FILL; usize::from(scalar_len)]].concat();
        [&[0x30, 2 * (2 + scalar_len)][..], &scalar, &scalar].concat()
    };
    match op.key().algorithm() {
        Algorithm::EcdsaP256 => ecdsa(32),
        Algorithm::EcdsaP384 => ecdsa(48),
        Algorithm::Ed25519 | Algorithm::Rsa => vec![FILL; op.key().max_signature_len()],
    }
}

fn fake_agreement(op: &AgreeOp) -> CryptoOutput {
    let group = op.group();
    let share = |len: usize| {
        let mut share = vec![FILL; len];
        if let (Some(first), Group::P256 | Group::P384) = (share.first_mut(), group) {
            *first = 4;
        }
        share
    };
    let secret = || Secret::new(vec![FILL; group.secret_len()]);
    match op.step() {
        AgreeStep::Start => CryptoOutput::Started {
            share: share(group.client_share_len()),
            key: EphemeralKey::new(group, ()),
        },
        AgreeStep::Complete { .. } => CryptoOutput::Secret(secret()),
        AgreeStep::StartAndComplete { .. } => {
            CryptoOutput::Agreed { share: share(group.server_share_len()), secret: secret() }
        }
    }
}
