//! Settings with named values, whose names are declared once for parsing, serialisation, help and error messages.

use support::Error;

/// Declares an enum whose variants have names in configuration files.
///
/// The error for an unknown name lists the known ones and suggests the most similar.
macro_rules! choice {
    ($(#[$about:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum $type { $($(#[$doc])* $variant,)+ }

        impl $type {
            /// All values, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the name in configuration files and on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl std::str::FromStr for $type {
            type Err = support::Error;
            fn from_str(text: &str) -> support::Result<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == text)
                    .ok_or_else(|| $crate::config::choice::unknown(text, &Self::ALL.iter().map(|v| v.name()).collect::<Vec<_>>()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> std::result::Result<Self, String> {
                text.parse().map_err(|error: support::Error| match error.hint_text() {
                    Some(hint) => format!("{error}; {hint}"),
                    None => error.to_string(),
                })
            }
        }

        impl From<$type> for &'static str {
            fn from(value: $type) -> &'static str {
                value.name()
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use choice;

/// Returns the error for a name that is not in `names`.
pub(crate) fn unknown(found: &str, names: &[&str]) -> Error {
    let error = Error::new(format!("expected one of {}, found {found:?}", names.join(", ")));
    match nearest(found, names.iter().copied()) {
        Some(name) => error.hint(format!("did you mean {name:?}?")),
        None => error,
    }
}

/// Returns the name most similar to `found` (Jaro-Winkler similarity above .7), as a suggestion.
pub(crate) fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|name| (strsim::jaro_winkler(&found.to_lowercase(), &name.to_lowercase()), name));
    scored.filter(|(score, _)| *score > 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}
