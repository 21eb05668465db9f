//! URIs that name a token and a key in it (RFC 7512).

use core::fmt::{self, Write as _};
use core::str::FromStr;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::percent::{Flaw, Part, decode, encode};
use crate::pin::{PinFrom, checked};

/// The name of a token and of a key in it: a PKCS#11 URI (RFC 7512).
///
/// ```
/// use pkcs11_engine::KeyUri;
///
/// let uri: KeyUri = "pkcs11:token=web;object=shop?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=env:WEB_PIN".parse()?;
/// assert_eq!(uri.object(), Some("shop"));
/// let error = "pkcs11:tokem=web".parse::<KeyUri>().unwrap_err();
/// assert_eq!(error.to_string(), "the URI's attribute tokem is unknown: did you mean token?");
/// # Ok::<(), pkcs11_engine::UriError>(())
/// ```
///
/// | attribute | names |
/// | --- | --- |
/// | `token`, `serial`, `manufacturer`, `model` | the token, by what it says of itself |
/// | `slot-id` | the slot, a decimal number; many modules change it at every start |
/// | `object`, `id` | the key, by its label or by its identifier (`%01%02`) |
/// | `type` | only `private` is of use here |
/// | `?module-path` | the library of the token's maker |
/// | `?pin-source` | where the PIN is: `file:/run/pin`, or a path alone, `env:NAME`, `fd:3` |
/// | `?pin-value` | the PIN itself, which every list of processes then shows: refused unless [`with_pin_value`](Self::with_pin_value) reads the URI |
///
/// Other attributes are refused, since a key that is looked for by fewer attributes than were given may be another key.
/// [`Display`](fmt::Display) and `Debug` show all but a PIN.
#[derive(Clone, Default)]
pub struct KeyUri {
    pub(crate) token: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) slot_id: Option<u64>,
    pub(crate) object: Option<String>,
    pub(crate) id: Option<Vec<u8>>,
    pub(crate) module_path: Option<PathBuf>,
    pub(crate) pin: Option<PinFrom>,
}

/// Why a text is no URI of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// It does not begin with `pkcs11:`.
    #[error("the URI does not begin with pkcs11: (RFC 7512), as pkcs11:token=NAME;object=NAME")]
    Scheme,
    /// Between two separators there is no `name=value`.
    #[error(
        "{0:?} in the URI is no attribute: write name=value, with ; between those before the ? and & after it"
    )]
    NotAnAttribute(String),
    /// An attribute that does not exist.
    #[error("the URI's attribute {attribute} is unknown{}", suggestion(attribute))]
    Unknown {
        /// Its name.
        attribute: String,
    },
    /// An attribute of RFC 7512 that this crate does not look at.
    #[error("the URI's attribute {attribute} is not supported: {instead}")]
    NotSupported {
        /// Its name.
        attribute: &'static str,
        /// What to write.
        instead: &'static str,
    },
    /// An attribute on the wrong side of the question mark.
    #[error("the URI's attribute {attribute} belongs {} the ?", if *.after { "after" } else { "before" })]
    Side {
        /// Its name.
        attribute: &'static str,
        /// Where it belongs.
        after: bool,
    },
    /// An attribute that is there twice.
    #[error("the URI's attribute {attribute} is there twice: leave one out")]
    Twice {
        /// Its name.
        attribute: &'static str,
    },
    /// A character that a value must not have as it is.
    #[error("the URI's attribute {attribute} has the character {character:?}: write it as {}", encoded(*.character))]
    Character {
        /// The name of the attribute.
        attribute: &'static str,
        /// The first such character.
        character: char,
    },
    /// A percent sign without two hexadecimal digits after it.
    #[error(
        "the URI's attribute {attribute} has a % without two hexadecimal digits: write a percent sign as %25"
    )]
    Percent {
        /// The name of the attribute.
        attribute: &'static str,
    },
    /// A value that cannot be right.
    #[error("the URI's attribute {attribute} {problem}")]
    Value {
        /// The name of the attribute.
        attribute: &'static str,
        /// What is wrong, and what to write.
        problem: &'static str,
    },
    /// The PIN stands in the URI.
    #[error(
        "the URI's attribute pin-value is refused, since lists of processes and logs would show the PIN: write pin-source=file:PATH, env:NAME or fd:NUMBER"
    )]
    PinValue,
}

/// An attribute that is looked at: its name, whether it belongs after the question mark, and the most bytes that a token can
/// have there.
struct Attribute {
    name: &'static str,
    in_query: bool,
    longest: usize,
}

#[rustfmt::skip]
const ATTRIBUTES: &[Attribute] = &[
    Attribute { name: "token",        in_query: false, longest: 32 },
    Attribute { name: "serial",       in_query: false, longest: 16 },
    Attribute { name: "manufacturer", in_query: false, longest: 32 },
    Attribute { name: "model",        in_query: false, longest: 16 },
    Attribute { name: "slot-id",      in_query: false, longest: 20 },
    Attribute { name: "object",       in_query: false, longest: usize::MAX },
    Attribute { name: "id",           in_query: false, longest: usize::MAX },
    Attribute { name: "type",         in_query: false, longest: usize::MAX },
    Attribute { name: "module-path",  in_query: true,  longest: usize::MAX },
    Attribute { name: "pin-source",   in_query: true,  longest: usize::MAX },
    Attribute { name: "pin-value",    in_query: true,  longest: usize::MAX },
];

const BY_TOKEN: &str = "name the token by token or serial";

#[rustfmt::skip]
const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("library-manufacturer", "name the library by module-path"),
    ("library-description",  "name the library by module-path"),
    ("library-version",      "name the library by module-path"),
    ("slot-manufacturer",    BY_TOKEN),
    ("slot-description",     BY_TOKEN),
    ("module-name",          "give the path of the library, module-path=/usr/lib/..."),
];

impl KeyUri {
    /// Reads a URI that may contain the PIN as `pin-value`. For tests, and for programs whose URIs are secrets themselves.
    ///
    /// # Errors
    ///
    /// Any [`UriError`] but [`PinValue`](UriError::PinValue).
    pub fn with_pin_value(uri: &str) -> Result<Self, UriError> {
        Self::parse(uri, true)
    }

    /// The label of the token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The label of the key.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// The identifier of the key.
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// The library.
    pub fn module_path(&self) -> Option<&Path> {
        self.module_path.as_deref()
    }

    fn parse(uri: &str, pin_value_allowed: bool) -> Result<Self, UriError> {
        let rest = match uri.get(..7) {
            Some(scheme) if scheme.eq_ignore_ascii_case("pkcs11:") => &uri[7..],
            _ => return Err(UriError::Scheme),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut read = Self::default();
        let mut seen = Vec::new();
        // What an error quotes may be a part of the PIN, if that has a separator in it.
        let has_pin = uri.to_ascii_lowercase().contains("pin-value");
        let quoted = |text: &str| if has_pin { "...".to_owned() } else { text.to_owned() };
        for (attributes, separator, part) in [(path, ';', Part::Path), (query, '&', Part::Query)] {
            for text in attributes.split(separator).filter(|_| !attributes.is_empty()) {
                let (name, value) =
                    text.split_once('=').ok_or_else(|| UriError::NotAnAttribute(quoted(text)))?;
                let attribute = known(name).map_err(|error| match error {
                    UriError::Unknown { attribute } => {
                        UriError::Unknown { attribute: quoted(&attribute) }
                    }
                    error => error,
                })?;
                let in_query = matches!(part, Part::Query);
                if attribute.in_query != in_query {
                    let after = attribute.in_query;
                    return Err(UriError::Side { attribute: attribute.name, after });
                }
                if seen.contains(&attribute.name) {
                    return Err(UriError::Twice { attribute: attribute.name });
                }
                seen.push(attribute.name);
                let name = attribute.name;
                let bytes = decode(value, part).map_err(|flaw| match flaw {
                    Flaw::Character(_) if name == "pin-value" => UriError::Value {
                        attribute: name,
                        problem: "has a character that must be written with a percent sign",
                    },
                    Flaw::Character(character) => {
                        UriError::Character { attribute: name, character }
                    }
                    Flaw::Percent => UriError::Percent { attribute: name },
                })?;
                read.take(attribute, bytes, pin_value_allowed)?;
            }
        }
        if read.pin.is_some() && seen.contains(&"pin-value") && seen.contains(&"pin-source") {
            return Err(value("pin-value", "is there beside pin-source: leave one out"));
        }
        Ok(read)
    }

    /// Keeps the value of an attribute.
    fn take(
        &mut self,
        attribute: &Attribute,
        bytes: Vec<u8>,
        pin_value_allowed: bool,
    ) -> Result<(), UriError> {
        let name = attribute.name;
        if bytes.is_empty() {
            return Err(value(name, "is empty: give a value or leave it out"));
        }
        if bytes.len() > attribute.longest {
            return Err(value(name, "is longer than any token's"));
        }
        if name == "id" {
            self.id = Some(bytes);
            return Ok(());
        }
        let text = String::from_utf8(bytes).map_err(|_| value(name, "is not UTF-8"))?;
        match name {
            "token" => self.token = Some(text),
            "serial" => self.serial = Some(text),
            "manufacturer" => self.manufacturer = Some(text),
            "model" => self.model = Some(text),
            "object" => self.object = Some(text),
            "slot-id" => {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.parse().ok().filter(|_| digits);
                self.slot_id = Some(number.ok_or_else(|| value(name, "is no decimal number"))?);
            }
            "type" if text == "private" => {}
            "type" => {
                return Err(value(name, "must be private, or be left out: a private key signs"));
            }
            "module-path" => self.module_path = Some(text.into()),
            "pin-value" if !pin_value_allowed => return Err(UriError::PinValue),
            "pin-value" => {
                let pin =
                    checked(&Zeroizing::new(text)).map_err(|_| value(name, "has several lines"))?;
                self.pin = Some(PinFrom::Value(pin));
            }
            _ => {
                let problem = "is none of file:PATH, env:NAME, fd:NUMBER";
                self.pin = Some(PinFrom::parse(&text).ok_or_else(|| value(name, problem))?);
            }
        }
        Ok(())
    }

    /// The part that names the key in its token.
    pub(crate) fn key_part(&self) -> Self {
        Self { object: self.object.clone(), id: self.id.clone(), ..Self::default() }
    }
}

fn value(attribute: &'static str, problem: &'static str) -> UriError {
    UriError::Value { attribute, problem }
}

fn known(name: &str) -> Result<&'static Attribute, UriError> {
    if let Some(attribute) = ATTRIBUTES.iter().find(|attribute| attribute.name == name) {
        return Ok(attribute);
    }
    Err(match NOT_SUPPORTED.iter().find(|(other, _)| *other == name) {
        Some(&(attribute, instead)) => UriError::NotSupported { attribute, instead },
        None => UriError::Unknown { attribute: name.into() },
    })
}

/// The attribute that was meant, if one letter is wrong, missing or too many.
fn suggestion(name: &str) -> String {
    let one_off = |known: &&Attribute| {
        let (long, short) = if known.name.len() >= name.len() {
            (known.name.as_bytes(), name.as_bytes())
        } else {
            (name.as_bytes(), known.name.as_bytes())
        };
        let same = long.iter().zip(short).take_while(|(a, b)| a == b).count();
        let rest = &long[(same + 1).min(long.len())..];
        // A letter is wrong, or one is missing.
        let from = same + usize::from(long.len() == short.len());
        short.get(from..) == Some(rest)
    };
    match ATTRIBUTES.iter().find(one_off) {
        Some(meant) => format!(": did you mean {}?", meant.name),
        None => String::new(),
    }
}

/// A character as RFC 7512 wants it.
fn encoded(character: char) -> String {
    let mut bytes = [0; 4];
    encode(character.encode_utf8(&mut bytes).as_bytes(), |_| false)
}

impl FromStr for KeyUri {
    type Err = UriError;

    fn from_str(uri: &str) -> Result<Self, UriError> {
        Self::parse(uri, false)
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        let texts = [
            ("token", &self.token),
            ("serial", &self.serial),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("object", &self.object),
        ];
        let mut path = Vec::new();
        for (name, text) in texts {
            path.extend(text.as_ref().map(|text| {
                format!("{name}={}", encode(text.as_bytes(), |byte| Part::Path.may_have(byte)))
            }));
        }
        path.extend(self.slot_id.map(|slot| format!("slot-id={slot}")));
        path.extend(self.id.as_ref().map(|id| format!("id={}", encode(id, |_| false))));
        f.write_str(&path.join(";"))?;
        let query = |text: &str| encode(text.as_bytes(), |byte| Part::Query.may_have(byte));
        let mut separator = '?';
        if let Some(module) = self.module_path.as_ref().and_then(|path| path.to_str()) {
            write!(f, "{separator}module-path={}", query(module))?;
            separator = '&';
        }
        if let Some(source) = self.pin.as_ref().and_then(PinFrom::source) {
            f.write_char(separator)?;
            write!(f, "pin-source={}", query(&source))?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyUri({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(uri: &str) -> String {
        uri.parse::<KeyUri>().unwrap_err().to_string()
    }

    #[test]
    fn each_mistake_is_named_with_what_to_write_instead() {
        let cases = [
            ("token=a", "the URI does not begin with pkcs11:"),
            ("pkcs11:token", "\"token\" in the URI is no attribute: write name=value"),
            ("pkcs11:token=a;", "\"\" in the URI is no attribute"),
            ("pkcs11:tokn=a", "tokn is unknown: did you mean token?"),
            ("pkcs11:objects=a", "objects is unknown: did you mean object?"),
            ("pkcs11:colour=a", "colour is unknown"),
            ("pkcs11:slot-description=a", "not supported: name the token by token or serial"),
            ("pkcs11:token=a?module-name=b", "give the path of the library"),
            ("pkcs11:module-path=/a", "module-path belongs after the ?"),
            ("pkcs11:?token=a", "token belongs before the ?"),
            ("pkcs11:token=a;token=a", "token is there twice"),
            ("pkcs11:token=a b", "has the character ' ': write it as %20"),
            ("pkcs11:token=a/b", "has the character '/': write it as %2F"),
            ("pkcs11:token=\u{e4}", "write it as %C3%A4"),
            ("pkcs11:token=100%", "write a percent sign as %25"),
            ("pkcs11:token=%4", "write a percent sign as %25"),
            ("pkcs11:token=", "token is empty"),
            ("pkcs11:token=%FF", "token is not UTF-8"),
            ("pkcs11:serial=12345678901234567", "serial is longer than any token's"),
            ("pkcs11:slot-id=+1", "slot-id is no decimal number"),
            ("pkcs11:type=cert", "type must be private"),
            ("pkcs11:token=a?pin-source=|cmd", "pin-source is none of file:PATH"),
            ("pkcs11:token=a?pin-value=1234", "pin-value is refused"),
        ];
        for (uri, expected) in cases {
            let found = error(uri);
            assert!(found.contains(expected), "{uri}: {found}");
        }
    }

    #[test]
    fn a_pin_in_the_uri_is_read_only_on_demand_and_never_shown() {
        let uri = KeyUri::with_pin_value("pkcs11:token=a?pin-value=geheim").unwrap();
        assert!(matches!(uri.pin, Some(PinFrom::Value(_))));
        assert!(!format!("{uri} {uri:?}").contains("geheim"));
        let both = KeyUri::with_pin_value("pkcs11:token=a?pin-value=1&pin-source=env:A");
        assert!(both.unwrap_err().to_string().contains("leave one out"));
        for uri in [
            "pkcs11:token=a?pin-value=geh&eim",
            "pkcs11:token=a?pin-value=geh&eim=1",
            "pkcs11:token=a?pin-value-geheim",
            "pkcs11:pin-value=geh;eim",
            "pkcs11:token=a?pin-value=e{im}",
            "pkcs11:token=a?pin-value=",
            "pkcs11:token=a?pin-value=1%0Aeim",
        ] {
            let error = KeyUri::with_pin_value(uri).unwrap_err().to_string();
            assert!(!error.contains("eim") && !error.contains('{'), "{uri}: {error}");
        }
    }

    #[test]
    fn a_uri_of_p11tool_is_read() {
        let uri: KeyUri =
            "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=4cfef42ab4b7f2e5;\
                           token=web;id=%01%FF;object=a%2fb;type=private?pin-source=file:/run/pin"
                .parse()
                .unwrap();
        assert_eq!(uri.model.as_deref(), Some("SoftHSM v2"));
        assert_eq!((uri.id(), uri.object()), (Some(&[1, 255][..]), Some("a/b")));
        assert!(matches!(&uri.pin, Some(PinFrom::File(path)) if path == Path::new("/run/pin")));
    }

    fn text(longest: usize) -> impl Strategy<Value = Option<String>> {
        let fits = move |text: &String| !text.is_empty() && text.len() <= longest;
        prop::option::of(any::<String>().prop_filter("fits", fits))
    }

    prop_compose! {
        fn uris()(
            (token, serial, manufacturer, model) in (text(32), text(16), text(32), text(16)),
            (slot_id, object) in (any::<Option<u64>>(), text(99)),
            id in prop::option::of(prop::collection::vec(any::<u8>(), 1..20)),
            module_path in text(99),
            pin in prop_oneof![
                Just(None),
                "[^\0]{1,20}".prop_map(|path| Some(PinFrom::File(path.into()))),
                "[A-Z_]{1,9}".prop_map(|name| Some(PinFrom::Env(name))),
                (0u32..99).prop_map(|fd| Some(PinFrom::Fd(fd))),
            ],
        ) -> KeyUri {
            let module_path = module_path.map(PathBuf::from);
            KeyUri { token, serial, manufacturer, model, slot_id, object, id, module_path, pin }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(uri in uris()) {
            let read: KeyUri = uri.to_string().parse().unwrap();
            prop_assert_eq!(read.to_string(), uri.to_string());
            prop_assert_eq!(
                (read.token, read.serial, read.manufacturer, read.model, read.slot_id),
                (uri.token, uri.serial, uri.manufacturer, uri.model, uri.slot_id)
            );
            prop_assert_eq!((read.object, read.id, read.module_path), (uri.object, uri.id, uri.module_path));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".{0,60}") {
            let _ = KeyUri::with_pin_value(&format!("pkcs11:{text}"));
            let _ = text.parse::<KeyUri>();
        }

        #[test]
        fn a_change_of_one_character_never_names_another_token(
            uri in uris(), at in any::<prop::sample::Index>(), other in "[ -~]",
        ) {
            let text = uri.to_string();
            let at = at.index(text.len());
            prop_assume!(text.is_char_boundary(at) && text.is_char_boundary(at + 1));
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            // Read again it is itself, or it was refused.
            if let Ok(read) = KeyUri::with_pin_value(&changed) {
                let again: KeyUri = read.to_string().parse().unwrap();
                prop_assert_eq!(again.to_string(), read.to_string());
            }
        }
    }
}
