//! The form on disk of what is kept of a plugin and of its file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use portcullis_contract::{Descriptor, HandlerInfo, ProviderName};
use serde::{Deserialize, Serialize};

use super::super::description::Description;

/// Changes with the form of what is kept.
pub(super) const VERSION: u32 = 2;

/// What a plugin said of itself, and in which form it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    version: u32,
    offers: KeptOffers,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeptOffers {
    Providers(Vec<KeptProvider>),
    AuthHandlers(Vec<HandlerInfo>),
}

#[derive(Serialize, Deserialize)]
struct KeptProvider {
    advertised: ProviderName,
    descriptor: Descriptor,
}

impl Description {
    /// Returns it as text, to be kept elsewhere; that of nothing, unless all of it could be read.
    pub(in super::super) fn to_text(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Kept::of(self))
    }

    /// Reads such a text, unless another version wrote it.
    pub(in super::super) fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str::<Kept>(text).ok()?.into_told()
    }
}

impl Kept {
    /// Returns what is to be kept: nothing, unless all of it could be read.
    pub(super) fn of(told: &Description) -> Option<Self> {
        let offers = match told.clone() {
            Description::Providers(all) => {
                let all = all.into_iter().map(|(advertised, told)| {
                    let descriptor = told.ok()?;
                    Some(KeptProvider { advertised, descriptor })
                });
                KeptOffers::Providers(all.collect::<Option<_>>()?)
            }
            Description::AuthHandlers(all) => KeptOffers::AuthHandlers(all),
        };
        Some(Self { version: VERSION, offers })
    }

    /// Returns what was kept, unless another version wrote it.
    pub(super) fn into_told(self) -> Option<Description> {
        let Self { version, offers } = self;
        (version == VERSION).then(|| match offers {
            KeptOffers::Providers(all) => {
                Description::Providers(all.into_iter().map(|p| (p.advertised, Ok(p.descriptor))).collect())
            }
            KeptOffers::AuthHandlers(all) => Description::AuthHandlers(all),
        })
    }
}

/// Which digest a path had.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptFile {
    pub(super) path: Vec<u8>,
    pub(super) looks: Looks,
    pub(super) digest: String,
}

/// How a file looks from outside.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Looks {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Looks {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_contract::Link;

    use super::*;

    #[test]
    fn what_could_not_all_be_read_is_not_kept() {
        let told = [Ok(Descriptor::default()), Err("it was gone".to_owned())];
        let told = told.map(|told| (ProviderName::new("p"), told));
        assert!(Kept::of(&Description::Providers(told.into())).is_none());
    }

    /// Links, examples and maintainers were lists at first.
    #[test]
    fn what_was_kept_in_an_earlier_form_is_read() {
        let link = Link { name: "l".to_owned(), url: "u".to_owned() };
        let descriptor = Descriptor { links: vec![link], ..Descriptor::default() };
        let told = Description::Providers(vec![(ProviderName::new("p"), Ok(descriptor))]);
        let now = told.to_text().unwrap();
        let earlier = now.replace(r#"{"name":"l","url":"u"}"#, r#"["l","u"]"#);
        assert_ne!(earlier, now);
        assert_eq!(Description::from_text(&earlier), Some(told));
    }
}
