use crate::document::{Descriptor, Index, Platform};

impl Platform {
    /// The platform that this was built for.
    pub fn host() -> Self {
        let architecture = crate::import::architecture().to_owned();
        let variant = (architecture == "arm").then(|| "v7".to_owned());
        Self { architecture, os: "linux".to_owned(), variant }
    }

    /// How well `offered` runs here: 0 is best, none is not at all.
    fn distance(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        let default = if self.architecture == "arm64" { "v8" } else { "" };
        let own = self.variant.as_deref().unwrap_or(default);
        let other = offered.variant.as_deref().unwrap_or(default);
        match (version(own), version(other)) {
            _ if own == other => Some(0),
            // a newer processor runs what is made for an older one
            (Some(own), Some(other)) if other < own => Some(own - other),
            (Some(own), None) if other.is_empty() => Some(own),
            _ => None,
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl std::str::FromStr for Platform {
    type Err = crate::Error;

    /// `os/architecture[/variant]`, as `docker pull --platform` takes it.
    fn from_str(text: &str) -> Result<Self, crate::Error> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        match parts.as_slice() {
            [os, architecture, variant @ ..] if variant.len() < 2 && parts.iter().all(word) => Ok(Self {
                architecture: (*architecture).to_owned(),
                os: (*os).to_owned(),
                variant: variant.first().map(|variant| (*variant).to_owned()),
            }),
            _ => Err(crate::Error::Inconsistent {
                what: "platform",
                object: text.chars().take(100).collect(),
                reason: "the form is os/architecture[/variant]".to_owned(),
            }),
        }
    }
}

fn version(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok()
}

impl Index {
    /// The manifests that run on `platform`, the best first; one that says no platform runs everywhere, last.
    pub fn choose(&self, platform: &Platform) -> Vec<&Descriptor> {
        let mut fits: Vec<(u32, &Descriptor)> = self
            .manifests
            .iter()
            .filter(|entry| entry.media_type.is_manifest())
            .filter_map(|entry| match &entry.platform {
                Some(offered) => Some((platform.distance(offered)?, entry)),
                None => Some((u32::MAX, entry)),
            })
            .collect();
        fits.sort_by_key(|(distance, _)| *distance);
        fits.into_iter().map(|(_, entry)| entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn the_nearest_variant_that_runs_is_chosen() {
        let distance = |own, offered| platform(own).distance(&platform(offered));
        assert_eq!(distance("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(distance("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(distance("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(distance("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(distance("linux/amd64", "windows/amd64"), None);
        assert!("linux".parse::<Platform>().is_err() && "a/b/c/d".parse::<Platform>().is_err());
    }
}
