//! Where the PIN of a token comes from.

use core::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

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
/// program runs; a descriptor is read once. An empty PIN is none: a token would count it as wrong.
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
                let problem =
                    |error: &dyn fmt::Display| format!("the function that gives it: {error}");
                let pin = Zeroizing::new(ask().map_err(|error| problem(&error))?);
                return checked(&pin).map(Some).map_err(|error| problem(&error));
            }
            PinSource::Uri(from) => from,
        };
        let said = |problem: &dyn fmt::Display| match from.source() {
            Some(source) => format!("pin-source={source}: {problem}"),
            None => format!("pin-value: {problem}"),
        };
        let text = match from {
            // The URI's reader has checked it.
            PinFrom::Value(pin) => return Ok(Some(pin.clone())),
            PinFrom::Env(name) => {
                std::env::var(name).map(Zeroizing::new).map_err(|error| said(&error))?
            }
            PinFrom::File(path) => {
                File::open(path).and_then(read_text).map_err(|error| said(&error))?
            }
            PinFrom::Fd(number) => {
                let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(pin) = &*read {
                    return Ok(Some(pin.clone()));
                }
                let text = File::open(format!("/dev/fd/{number}"))
                    .and_then(read_text)
                    .map_err(|error| said(&error))?;
                let pin = checked(&text).map_err(|error| said(&error))?;
                *read = Some(pin.clone());
                return Ok(Some(pin));
            }
        };
        checked(&text).map(Some).map_err(|error| said(&error))
    }
}

/// More than any PIN has, with the end of its line.
const LONGEST: usize = 4096;

/// Reads all, and leaves no copy behind: the text never grows out of its memory.
fn read_text(source: File) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(2 * LONGEST));
    let length = source.take(LONGEST as u64 + 1).read_to_string(&mut text)?;
    if length > LONGEST {
        return Err(io::Error::other("it is longer than any PIN"));
    }
    Ok(text)
}

/// The PIN without the end of its line, which editors and `echo` add.
pub(crate) fn checked(text: &str) -> Result<AuthPin, &'static str> {
    let pin = text.trim_end_matches(['\r', '\n']);
    if pin.is_empty() {
        return Err("it is empty, and a token counts an empty PIN as a wrong one");
    }
    if pin.contains(['\r', '\n']) {
        return Err("it has several lines: the PIN has to stand alone");
    }
    // Of this very length, so that it is not copied when it is sealed.
    Ok(AuthPin::from(pin.to_owned()))
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
    fn an_empty_pin_and_one_of_several_lines_are_refused() {
        for (text, problem) in [("", "empty"), ("\r\n", "empty"), ("1234\n5678\n", "several lines")]
        {
            let asked = text.to_owned();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let path = file.path().to_owned();
            let sources = [
                PinSource::Ask(Arc::new(move || Ok(asked.clone()))),
                PinSource::Uri(PinFrom::File(path)),
            ];
            for source in sources {
                let error = Pins::new(source).get().map(drop).unwrap_err();
                assert!(error.contains(problem), "{text:?}: {error}");
                assert!(!error.contains("1234"), "{error}");
            }
        }
        assert!(checked("12 34\r\n").is_ok() && checked(" 1 ").is_ok());
    }

    #[test]
    fn a_descriptor_is_read_once_and_the_next_reader_of_a_drained_one_gets_an_error() {
        use std::os::fd::AsRawFd as _;

        let (read, mut write) = io::pipe().unwrap();
        write.write_all(b"1234\n").unwrap();
        drop(write);
        let from = || PinFrom::parse(&format!("fd:{}", read.as_raw_fd())).unwrap();
        let pins = Pins::new(PinSource::Uri(from()));
        assert!(pins.get().unwrap().is_some() && pins.get().unwrap().is_some());
        let error = Pins::new(PinSource::Uri(from())).get().map(drop).unwrap_err();
        assert!(error.starts_with("pin-source=fd:") && error.contains("empty"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_pin_is_not_read_to_its_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[b'1'; 2 * LONGEST]).unwrap();
        let pins = Pins::new(PinSource::Uri(PinFrom::File(file.path().to_owned())));
        assert!(pins.get().map(drop).unwrap_err().contains("longer than any PIN"));
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
