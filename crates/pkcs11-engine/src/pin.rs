//! Where the PIN of a token comes from.

use core::fmt;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::types::AuthPin;

/// What a URI says of the PIN.
#[derive(Clone, Debug)]
pub(crate) enum PinFrom {
    Value(AuthPin),
    File(PathBuf),
    Env(String),
    Fd(u32),
}

impl PinFrom {
    /// Reads the value of `pin-source`.
    pub(crate) fn parse(source: &str) -> Option<Self> {
        if source.starts_with('/') {
            return Some(Self::File(source.into()));
        }
        let (kind, rest) = source.split_once(':')?;
        match kind {
            _ if rest.is_empty() => None,
            "file" => {
                // RFC 8089 allows an empty authority: file:///run/pin.
                let path = rest.strip_prefix("//").filter(|path| path.starts_with('/'));
                Some(Self::File(path.unwrap_or(rest).into()))
            }
            "env" => Some(Self::Env(rest.into())),
            "fd" => Some(Self::Fd(rest.parse().ok()?)),
            _ => None,
        }
    }

    /// The value of `pin-source`; a PIN has none.
    pub(crate) fn source(&self) -> Option<String> {
        match self {
            Self::Value(_) => None,
            Self::File(path) => Some(format!("file:{}", path.display())),
            Self::Env(name) => Some(format!("env:{name}")),
            Self::Fd(number) => Some(format!("fd:{number}")),
        }
    }
}

/// A function of the caller's that gives the PIN.
pub(crate) type AskForPin = Arc<dyn Fn() -> io::Result<String> + Send + Sync>;

/// Gives the PIN at each login.
#[derive(Clone)]
pub(crate) enum PinSource {
    /// There is none: the token has a keypad of its own, or wants no login.
    Absent,
    Uri(PinFrom),
    Ask(AskForPin),
}

/// The PIN at each login. Files, variables and functions are asked anew each time, so that a PIN may be changed while the
/// program runs; a descriptor is read once.
pub(crate) struct Pins {
    source: PinSource,
    read: Mutex<Option<AuthPin>>,
}

impl Pins {
    pub(crate) fn new(source: PinSource) -> Self {
        Self { source, read: Mutex::default() }
    }

    /// The PIN; `None` if there is no source. The error says which source failed.
    pub(crate) fn get(&self) -> Result<Option<AuthPin>, String> {
        let from = match &self.source {
            PinSource::Absent => return Ok(None),
            PinSource::Ask(ask) => {
                let pin = ask().map_err(|error| format!("the function that gives it: {error}"))?;
                return Ok(Some(pin.into()));
            }
            PinSource::Uri(from) => from,
        };
        let said = |problem: &dyn fmt::Display| {
            format!("pin-source={}: {problem}", from.source().unwrap_or_default())
        };
        let pin = match from {
            PinFrom::Value(pin) => return Ok(Some(pin.clone())),
            PinFrom::Env(name) => std::env::var(name).map_err(|error| said(&error))?,
            PinFrom::File(path) => std::fs::read_to_string(path).map_err(|error| said(&error))?,
            PinFrom::Fd(number) => {
                let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(pin) = &*read {
                    return Ok(Some(pin.clone()));
                }
                let mut pin = String::new();
                std::fs::File::open(format!("/dev/fd/{number}"))
                    .and_then(|mut file| file.read_to_string(&mut pin))
                    .map_err(|error| said(&error))?;
                let pin = AuthPin::from(line(pin));
                *read = Some(pin.clone());
                return Ok(Some(pin));
            }
        };
        Ok(Some(line(pin).into()))
    }
}

/// The PIN without the end of its line, which editors and `echo` add.
fn line(mut pin: String) -> String {
    pin.truncate(pin.trim_end_matches(['\r', '\n']).len());
    pin
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_gives_its_line_and_is_read_at_each_login() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"12 34\r\n").unwrap();
        let from = PinFrom::parse(&format!("file:{}", file.path().display())).unwrap();
        let pins = Pins::new(PinSource::Uri(from));
        let long = |pins: &Pins| format!("{:?}", pins.get().unwrap().is_some());
        assert_eq!(long(&pins), "true");
        drop(file);
        let error = pins.get().map(drop).unwrap_err();
        assert!(
            error.starts_with("pin-source=file:/") && error.contains("No such file"),
            "{error}"
        );
    }

    #[test]
    fn the_end_of_the_line_is_no_part_of_a_pin() {
        assert_eq!(line("12 34\r\n".into()), "12 34");
        assert_eq!(line(" 1 ".into()), " 1 ");
    }

    #[test]
    fn sources_that_are_none_are_refused() {
        for source in ["", "pin", "file:", "env:", "fd:x", "|cat pin", "https://pin"] {
            assert!(PinFrom::parse(source).is_none(), "{source}");
        }
        let from = PinFrom::parse("file:///run/pin").and_then(|from| from.source());
        assert_eq!(from.as_deref(), Some("file:/run/pin"));
    }
}
