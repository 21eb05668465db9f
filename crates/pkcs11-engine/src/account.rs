//! The login of a token: one for the whole process, kept by an anchor session that signs nothing.

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Limit, Slot, TokenInfo};

use crate::error::OpenError;
use crate::fault::{Class, During, Fault};
use crate::gate::Inside;
use crate::module::Module;
use crate::objects::{find_token, is_named};
use crate::pin::Pins;
use crate::sessions::OwnedSession;
use crate::uri::KeyUri;

/// Logs in, and keeps the login.
pub(crate) struct Account {
    token: KeyUri,
    pins: Pins,
    /// A wrong PIN that somebody gave before does not keep the first login from being tried.
    despite_wrong_pin: bool,
    logged_in_before: bool,
    slot: Option<Slot>,
    /// Closing the last session logs out.
    anchor: Option<OwnedSession>,
    generation: u64,
}

impl Account {
    /// The account with the token that `token` names.
    pub(crate) const fn new(token: KeyUri, pins: Pins, despite_wrong_pin: bool) -> Self {
        Self {
            token,
            pins,
            despite_wrong_pin,
            logged_in_before: false,
            slot: None,
            anchor: None,
            generation: 0,
        }
    }

    /// What logs call the token.
    pub(crate) fn name(&self) -> String {
        let token = self.token.token().or(self.token.serial.as_deref());
        token.unwrap_or("the only token").to_owned()
    }

    /// Of the module, at the last login.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn take_anchor(&mut self) -> Option<OwnedSession> {
        self.anchor.take()
    }

    /// The anchor session.
    pub(crate) fn session(&self, inside: &Inside<'_>) -> Result<&Session, Fault> {
        let closed = || Fault::new(Class::Session, "the token is not logged in");
        self.anchor.as_ref().ok_or_else(closed)?.usable(inside)
    }

    /// Logs in if need be, and returns where the token is.
    pub(crate) fn log_in(
        &mut self,
        module: &'static Module,
        inside: &Inside<'_>,
    ) -> Result<Slot, OpenError> {
        self.generation = inside.generation;
        let is_usable = self.anchor.as_ref().is_some_and(|anchor| {
            let alive = anchor.usable(inside).map(|session| session.get_session_info().is_ok());
            alive.unwrap_or(false)
        });
        let (slot, info) = match self.slot.filter(|_| is_usable) {
            Some(slot) => {
                let info = module.library().get_token_info(slot);
                let info = info.map_err(|error| token(&error, During::Other))?;
                if !is_named(&self.token, slot.id(), &info) {
                    return Err(OpenError::Token("another token is in its slot".into()));
                }
                (slot, info)
            }
            None => {
                if let Some(lost) = self.anchor.take() {
                    lost.close(inside);
                }
                let (slot, info) = find_token(module.library(), &self.token)?;
                let anchor = OwnedSession::open(module, inside, slot, 0);
                self.anchor = Some(anchor.map_err(|fault| OpenError::Token(fault.text))?);
                (slot, info)
            }
        };
        self.slot = Some(slot);
        let session = self.session(inside).map_err(|fault| OpenError::Token(fault.text))?;
        self.give_pin(session, &info)?;
        self.logged_in_before = true;
        Ok(slot)
    }

    fn give_pin(&self, session: &Session, info: &TokenInfo) -> Result<(), OpenError> {
        let state = session.get_session_info().map(|info| info.session_state());
        let is_in = matches!(state, Ok(SessionState::RoUser | SessionState::RwUser));
        if !info.login_required() || is_in {
            return Ok(());
        }
        if info.user_pin_locked() {
            return Err(OpenError::PinAtRisk("has locked the PIN: unlock it with the SO's PIN"));
        }
        if info.user_pin_final_try() {
            return Err(OpenError::PinAtRisk("has one try left: log in by hand"));
        }
        if info.user_pin_count_low() && !self.logged_in_before && !self.despite_wrong_pin {
            return Err(OpenError::PinAtRisk(
                "was given a wrong PIN before: log in by hand with the right one, or allow it with despite_wrong_pin",
            ));
        }
        let pin = self.pins.get().map_err(OpenError::NoPin)?;
        if pin.is_none() && !info.protected_authentication_path() {
            let remedy = "the token wants one: add ?pin-source=file:PATH, env:NAME or fd:NUMBER";
            return Err(OpenError::NoPin(remedy.into()));
        }
        match session.login(UserType::User, pin.as_ref()) {
            // By another part of the process, between the look and the login.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let fault = Fault::of(&error, During::Login);
                Err(match fault.class {
                    Class::Pin => OpenError::WrongPin(fault.text),
                    _ => OpenError::Token(fault.text),
                })
            }
        }
    }

    /// The most sessions that the token gives beside the anchor; `None` if it names no limit.
    pub(crate) fn session_limit(&self, module: &Module) -> Result<Option<usize>, OpenError> {
        let Some(slot) = self.slot else { return Ok(None) };
        let info = module.library().get_token_info(slot);
        let info = info.map_err(|error| token(&error, During::Other))?;
        Ok(match info.max_session_count() {
            Limit::Max(most) => Some(usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(1)),
            Limit::Infinite | Limit::Unavailable => None,
        })
    }
}

fn token(error: &Error, during: During) -> OpenError {
    OpenError::Token(Fault::of(error, during).text)
}
