//! The two macros in which the scenario language is declared, once for everything that reads it.
//!
//! serde's derive alone would lose what the messages owe their readers (path, range, unit, nearest name), and a schema
//! derived from types knows neither units nor what a field inherits. So each field is declared with its type, accepted
//! values and default, and the macro writes the type, its serde implementation and its description as data.

/// Declares enums, each value under the word that stands for it in a file.
macro_rules! words {
    ($(
        $(#[doc = $doc:literal])+
        $Name:ident { $( $Value:ident = $word:literal ),+ $(,)? }
    )+) => { $(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[non_exhaustive]
        pub enum $Name { $( #[serde(rename = $word)] $Value, )+ }

        impl $Name {
            /// All values, in order.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$Value),+];
            pub(super) const WORDS: &[&str] = &[$($word),+];
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(Self::WORDS[*self as usize])
            }
        }
    )+ };
}

/// Declares a table of the file: `Type = "name" SHAPE { key: type => accepted values, what holds when left out; }`.
///
/// The doc comments are the meanings that `--print`, page and schema show. What holds is `required`, `default(VALUE)` or
/// `inherits("WHAT")`. Members that are no fields, such as further tables, follow `and`.
macro_rules! section {
    (
        $(#[doc = $meaning:literal])+
        $(#[derive($Derive:ident)])?
        $Table:ident = $name:literal $shape:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty => $accepts:expr, $absent:ident $(($value:expr))?; )+
        }
        $(and { $( $(#[$attr:meta])+ $part:ident: $part_type:ty, )+ })?
    ) => {
        $(#[doc = $meaning])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize $(, $Derive)?)]
        pub struct $Table {
            $( $(#[doc = $doc])+ pub $key: $type, )+
            $($( $(#[$attr])+ pub $part: $part_type, )+)?
        }

        impl $Table {
            pub(super) const SECTION: Section = Section {
                name: $name,
                shape: Shape::$shape,
                meaning: concat!($($meaning),+).trim_ascii_start(),
                fields: &[$( Field {
                    key: stringify!($key),
                    meaning: concat!($($doc),+).trim_ascii_start(),
                    accepts: $accepts,
                    absent: absent!($type, $absent $(($value))?),
                } ),+],
            };
        }
    };
}

/// What holds when a field is left out, as [`Absent`](super::field::Absent).
macro_rules! absent {
    ($type:ty, required) => {
        Absent::Required
    };
    ($type:ty, default($value:expr)) => {
        Absent::Default(|| to_toml::<$type>($value))
    };
    ($type:ty, inherits($from:expr)) => {
        Absent::Inherits($from)
    };
}

pub(super) use {absent, section, words};
