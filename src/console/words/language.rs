//! The languages of the console, and which of them a browser asks for.

/// A language with a file of texts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "lowercase")]
pub(in crate::console) enum ConsoleLanguage {
    /// English.
    En,
    /// German.
    De,
}

impl ConsoleLanguage {
    /// Its tag, for the attribute `lang`.
    pub(in crate::console) fn tag(self) -> &'static str {
        self.into()
    }

    /// Its name in itself.
    pub(in crate::console) fn own_name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::De => "Deutsch",
        }
    }

    /// The first language of an `Accept-Language` header, in the order of its weights, that there is.
    pub(in crate::console) fn accepted(header: &str) -> Option<Self> {
        let mut wanted: Vec<(&str, f32)> = header
            .split(',')
            .filter_map(|part| {
                let (tag, weight) = part.split_once(";q=").unwrap_or((part, "1"));
                let weight: f32 = weight.trim().parse().ok()?;
                Some((tag.trim(), weight))
            })
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        wanted.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        wanted.into_iter().find_map(|(tag, _)| {
            let language = tag.split('-').next().unwrap_or_default();
            language.to_ascii_lowercase().parse().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_with_the_highest_weight_that_there_is_is_taken() {
        for (header, expected) in [
            ("de", Some(ConsoleLanguage::De)),
            ("de-AT,de;q=0.9,en;q=0.8", Some(ConsoleLanguage::De)),
            ("fr-FR,en;q=0.7,de;q=0.3", Some(ConsoleLanguage::En)),
            ("en;q=0.2, DE-ch;q=0.9", Some(ConsoleLanguage::De)),
            ("de;q=0", None),
            ("fr, *;q=0.5", None),
            ("", None),
            ("de;q=x", None),
        ] {
            assert_eq!(ConsoleLanguage::accepted(header), expected, "{header}");
        }
    }
}
