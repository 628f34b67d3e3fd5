//! What a registry knows beside images themselves: tags, repositories, what refers to an image, what a word finds.

use serde::Deserialize;

use super::address::{Origin, escape, resolve};
use super::{Call, MAX_PAGES, Registry, target};
use crate::document::{Index, decode};
use crate::{Descriptor, Digest, Error, MAX_DOCUMENT, Reference};

/// A repository that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Found {
    /// Its name, without the registry's.
    pub name: String,
    /// What its owner says of it.
    #[serde(default)]
    pub description: String,
    /// How many people marked it.
    #[serde(default, rename = "star_count")]
    pub stars: u64,
    /// The registry itself vouches for it.
    #[serde(default, rename = "is_official")]
    pub official: bool,
}

impl Registry {
    /// All tags of the repository of `reference`.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let url = format!("{}/v2/{}/tags/list", self.base(reference.domain()), reference.path());
        let mut tags = Vec::new();
        self.pages(reference, url, "pull", |bytes| {
            tags.extend(decode::<Page>("tag list", reference, bytes)?.tags.unwrap_or_default());
            Ok(())
        })?;
        Ok(tags)
    }

    /// All repositories of a registry, `host[:port]`, as far as it tells of them. Docker's *Catalog* endpoint.
    pub fn catalog(&self, registry: &str) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        let reference: Reference = format!("{registry}/catalog").parse()?;
        let mut names = Vec::new();
        self.pages(&reference, format!("{}/v2/_catalog", self.base(registry)), "catalog", |bytes| {
            names.extend(decode::<Page>("catalogue", registry, bytes)?.repositories.unwrap_or_default());
            Ok(())
        })?;
        Ok(names)
    }

    /// The manifests that refer to the image `reference` stands for, such as signatures, and of one type only if
    /// `artifact_type` names it. Of a registry without that endpoint, what is listed under the tag that stands in for it
    /// (distribution specification, *Listing Referrers*, *Referrers Tag Schema*).
    pub fn referrers(
        &self,
        reference: &Reference,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let digest = match reference.digest() {
            Some(digest) => digest.clone(),
            None => self.resolve(reference)?.digest,
        };
        let base = format!("{}/v2/{}", self.base(reference.domain()), reference.path());
        let mut url = format!("{base}/referrers/{digest}");
        if let Some(wanted) = artifact_type {
            url = url + "?artifactType=" + &escape(wanted);
        }
        let mut found = Vec::new();
        let listed = self.pages(reference, url, "pull", |bytes| {
            found.extend(decode::<Index>("list of referrers", &digest, bytes)?.manifests);
            Ok(())
        });
        match listed {
            Err(Error::NotFound { .. }) => found = self.referrers_by_tag(reference, &digest)?,
            listed => listed?,
        }
        // a registry may pass over what it was asked to choose by
        found.retain(|entry| {
            artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
        });
        Ok(found)
    }

    fn referrers_by_tag(&self, reference: &Reference, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        let tag = format!("{}-{}", digest.algorithm().name(), digest.hex());
        let tagged = format!("{}/{}:{tag}", reference.domain(), reference.path()).parse()?;
        match self.manifest(&tagged, &target(&tagged), None) {
            Ok((_, bytes)) => Ok(decode::<Index>("list of referrers", digest, &bytes)?.manifests),
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Repositories of `registry` that a word finds, at most `limit` of them, by Docker Hub's search, which few others have.
    pub fn search(&self, registry: &str, word: &str, limit: u32) -> Result<Vec<Found>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            results: Vec<Found>,
        }
        let reference: Reference = format!("{registry}/search").parse()?;
        // the Hub's search lives beside its registry
        let base = if reference.domain() == "docker.io" {
            "https://index.docker.io".to_owned()
        } else {
            self.base(registry)
        };
        let url = format!("{base}/v1/search?q={}&n={limit}", escape(word));
        let response =
            self.again(|| self.expect(&reference, &Call::new("GET", url.clone(), "pull"), &[200]))?;
        let bytes = self.read(response, MAX_DOCUMENT, &url)?;
        let mut found = decode::<Answer>("search result", registry, &bytes)?.results;
        found.truncate(limit as usize);
        Ok(found)
    }

    /// Reads page after page, as the `Link` header leads.
    fn pages(
        &self,
        reference: &Reference,
        mut url: String,
        actions: &'static str,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let origin = self.base(reference.domain());
        for _ in 0..MAX_PAGES {
            let response = self.expect(reference, &Call::new("GET", url.clone(), actions), &[200])?;
            let next = response.header("link").and_then(|link| {
                let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
                rest.contains("rel=\"next\"").then(|| resolve(&url, address)).flatten()
            });
            let bytes = self.read(response, MAX_DOCUMENT, &url)?;
            take(&bytes)?;
            match next {
                // another host has no say in what this one has
                Some(next) if Origin::of(&next) == Origin::of(&origin) => url = next,
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}
