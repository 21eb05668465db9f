//! What an error of a module means for the calls that follow.

use core::fmt;

use cryptoki::error::{Error, RvError};

/// What helps after an error, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Nothing: the key, the mechanism or the request is wrong. The next request may be right.
    Request,
    /// Time: the token has no session or no memory left.
    Busy,
    /// Another session: this one is closed, or in the middle of something.
    Session,
    /// It cannot be told from the error. Another session, once.
    Unclear,
    /// A login, and to look for the key anew: handles of private objects die with a login.
    Login,
    /// A new beginning: the token, or the module, is away.
    Device,
    /// Nothing, and nothing may be tried: the token counts wrong PINs.
    Pin,
}

impl Class {
    /// Its name in logs and counters.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Busy => "busy",
            Self::Session => "session",
            Self::Unclear => "unclear",
            Self::Login => "login",
            Self::Device => "device",
            Self::Pin => "pin",
        }
    }

    pub(crate) const ALL: [Self; 7] = [
        Self::Request,
        Self::Busy,
        Self::Session,
        Self::Unclear,
        Self::Login,
        Self::Device,
        Self::Pin,
    ];
}

/// What the thread was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum During {
    Login,
    Sign,
    /// Anything else with a session or a slot.
    Other,
}

/// An error of the module, sorted.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) class: Class,
    pub(crate) text: String,
}

impl Fault {
    pub(crate) fn new(class: Class, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }

    pub(crate) fn of(error: &Error, during: During) -> Self {
        Self { class: class_of(error, during), text: said(error) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether the answer of `C_Login` says that the token has not seen the PIN. After any other error it may have counted it.
pub(crate) const fn has_not_seen_the_pin(error: &Error) -> bool {
    use RvError as E;
    matches!(
        error,
        Error::Pkcs11(
            E::SessionHandleInvalid
                | E::SessionClosed
                | E::DeviceRemoved
                | E::TokenNotPresent
                | E::TokenNotRecognized
                | E::SlotIdInvalid
                | E::CryptokiNotInitialized
                | E::HostMemory,
            _
        )
    )
}

/// The function and its answer, without the library's prose.
fn said(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("C_{function:?} answered {code:?}"),
        other => other.to_string(),
    }
}

fn class_of(error: &Error, during: During) -> Class {
    let Error::Pkcs11(code, _) = error else {
        // A function that the module does not have, or a length that cannot be.
        return Class::Request;
    };
    match code {
        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked
        | RvError::UserPinNotInitialized => Class::Pin,
        // With a PIN of no use to it.
        RvError::ArgumentsBad if during == During::Login => Class::Pin,
        RvError::SessionCount | RvError::HostMemory | RvError::DeviceMemory => Class::Busy,
        RvError::SessionClosed
        | RvError::SessionHandleInvalid
        | RvError::OperationActive
        | RvError::OperationNotInitialized => Class::Session,
        RvError::UserNotLoggedIn | RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid => {
            Class::Login
        }
        RvError::DeviceError
        | RvError::DeviceRemoved
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid
        | RvError::CryptokiNotInitialized => Class::Device,
        RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::FunctionCanceled
        | RvError::VendorDefined(_)
        | RvError::UnknownErrorCode(_) => match during {
            During::Sign => Class::Unclear,
            During::Login | During::Other => Class::Device,
        },
        _ => Class::Request,
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn an_error_means_what_the_thread_was_doing() {
        let class = |code, during| class_of(&Error::Pkcs11(code, Function::Sign), during);
        assert_eq!(class(RvError::ArgumentsBad, During::Login), Class::Pin);
        assert_eq!(class(RvError::ArgumentsBad, During::Sign), Class::Request);
        assert_eq!(class(RvError::GeneralError, During::Sign), Class::Unclear);
        assert_eq!(class(RvError::GeneralError, During::Login), Class::Device);
        assert_eq!(class(RvError::UnknownErrorCode(77), During::Other), Class::Device);
        assert_eq!(class(RvError::KeyHandleInvalid, During::Sign), Class::Login);
        assert_eq!(class(RvError::OperationActive, During::Sign), Class::Session);
        assert_eq!(class(RvError::PinLocked, During::Login), Class::Pin);
        assert_eq!(class(RvError::KeyTypeInconsistent, During::Sign), Class::Request);
    }

    #[test]
    fn a_fault_says_the_function_and_the_code() {
        let error = Error::Pkcs11(RvError::DeviceError, Function::OpenSession);
        let fault = Fault::of(&error, During::Other);
        assert_eq!(fault.to_string(), "C_OpenSession answered DeviceError");
    }
}
