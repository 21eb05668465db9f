//! The login of a token: one for the whole process, kept by an anchor session that signs nothing.

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Limit, Slot, TokenInfo};
use cryptoki::types::AuthPin;

use crate::error::OpenError;
use crate::fault::{Class, During, Fault, has_not_seen_the_pin};
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
    /// Logins since the last good one after which the token may have counted a wrong PIN.
    doubtful_logins: u32,
    /// The token was shut down: no session is opened any more.
    has_ended: bool,
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
            doubtful_logins: 0,
            has_ended: false,
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

    /// Whether the token was not shut down.
    pub(crate) const fn lasts(&self) -> Result<(), OpenError> {
        if self.has_ended { Err(OpenError::ShutDown) } else { Ok(()) }
    }

    /// From now on nothing is opened any more.
    pub(crate) const fn end(&mut self) {
        self.has_ended = true;
    }

    pub(crate) fn take_anchor(&mut self) -> Option<OwnedSession> {
        self.anchor.take()
    }

    /// The anchor session.
    pub(crate) fn session(&self, inside: &Inside<'_>) -> Result<&Session, Fault> {
        let closed = || Fault::new(Class::Session, "the token is not logged in");
        self.anchor.as_ref().ok_or_else(closed)?.usable(inside)
    }

    /// Logs in if need be, and returns where the token is. The PIN is fetched while no thread is kept from restarting the module:
    /// the caller's function may take its time.
    pub(crate) fn log_in(&mut self, module: &'static Module) -> Result<Slot, OpenError> {
        self.lasts()?;
        let (slot, has_keypad) = {
            let inside = module.enter().map_err(failed)?;
            let (slot, info) = self.open_anchor(module, &inside)?;
            if !self.wants_login(self.session(&inside).map_err(failed)?, &info)? {
                self.logged_in_before = true;
                return Ok(slot);
            }
            (slot, info.protected_authentication_path())
        };
        let pin = self.pins.get().map_err(OpenError::NoPin)?;
        if pin.is_none() && !has_keypad {
            let remedy = "the token wants one: add ?pin-source=file:PATH, env:NAME or fd:NUMBER";
            return Err(OpenError::NoPin(remedy.into()));
        }
        let inside = module.enter().map_err(failed)?;
        self.give_pin(&inside, pin.as_ref())?;
        self.logged_in_before = true;
        Ok(slot)
    }

    /// Finds the token, and keeps a session with it.
    fn open_anchor(
        &mut self,
        module: &'static Module,
        inside: &Inside<'_>,
    ) -> Result<(Slot, TokenInfo), OpenError> {
        self.generation = inside.generation;
        let is_usable = self.anchor.as_ref().is_some_and(|anchor| {
            let alive = anchor.usable(inside).map(|session| session.get_session_info().is_ok());
            alive.unwrap_or(false)
        });
        if let Some(slot) = self.slot.filter(|_| is_usable) {
            let info = module.library().get_token_info(slot);
            let info = info.map_err(|error| token(&error, During::Other))?;
            if !is_named(&self.token, slot.id(), &info) {
                return Err(OpenError::Token("another token is in its slot".into()));
            }
            return Ok((slot, info));
        }
        if let Some(lost) = self.anchor.take() {
            lost.close(inside);
        }
        let (slot, info) = find_token(module.library(), &self.token)?;
        self.anchor = Some(OwnedSession::open(module, inside, slot, 0).map_err(failed)?);
        self.slot = Some(slot);
        Ok((slot, info))
    }

    /// Whether the token wants a PIN now. The error says why it must not be given one.
    fn wants_login(&self, session: &Session, info: &TokenInfo) -> Result<bool, OpenError> {
        let state = session.get_session_info().map(|info| info.session_state());
        let is_in = matches!(state, Ok(SessionState::RoUser | SessionState::RwUser));
        if !info.login_required() || is_in {
            return Ok(false);
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
        Ok(true)
    }

    fn give_pin(&mut self, inside: &Inside<'_>, pin: Option<&AuthPin>) -> Result<(), OpenError> {
        let answer = self.session(inside).map_err(failed)?.login(UserType::User, pin);
        let error = match answer {
            // By another part of the process, between the look and the login.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                self.doubtful_logins = 0;
                return Ok(());
            }
            Err(error) => error,
        };
        let fault = Fault::of(&error, During::Login);
        if fault.class == Class::Pin {
            return Err(OpenError::WrongPin(fault.text));
        }
        if has_not_seen_the_pin(&error) {
            return Err(OpenError::Token(fault.text));
        }
        self.doubtful_logins += 1;
        if self.doubtful_logins < MOST_DOUBTFUL_LOGINS {
            return Err(OpenError::Token(fault.text));
        }
        // Once a person lets the service go on, it may try as often again.
        self.doubtful_logins = 0;
        Err(OpenError::LoginFails(fault.text))
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

/// How many times the PIN is given to a token that may have counted each as wrong.
const MOST_DOUBTFUL_LOGINS: u32 = 2;

fn failed(fault: Fault) -> OpenError {
    OpenError::Token(fault.text)
}

fn token(error: &Error, during: During) -> OpenError {
    OpenError::Token(Fault::of(error, during).text)
}
