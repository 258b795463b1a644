//! What is kept of plugins where there is no folder for it.

use std::collections::HashMap;

/// The largest file that is kept in memory, and how many bytes all may have. Guesses: hardly any descriptor is larger,
/// and the plugin of one that is, is asked again; the descriptors of ten thousand plugins have less.
const LARGEST: usize = 256 << 10;
const MOST: usize = 64 << 20;

/// What is kept in memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    files: HashMap<String, Vec<u8>>,
    /// How many bytes they have.
    bytes: usize,
}

impl Memory {
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    pub(super) fn insert(&mut self, name: &str, text: Vec<u8>) {
        if text.len() > LARGEST {
            return;
        }
        self.remove(name);
        // Little is lost: most of it is about files that were replaced since.
        if self.bytes + text.len() > MOST {
            *self = Self::default();
        }
        self.bytes += text.len();
        self.files.insert(name.to_owned(), text);
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(text) = self.files.remove(name) {
            self.bytes -= text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_an_end_and_what_is_new_is_always_kept() {
        let mut memory = Memory::default();
        memory.insert("large", vec![0; LARGEST + 1]);
        assert_eq!(memory.get("large"), None);

        let most = MOST / LARGEST;
        for n in 0..most {
            memory.insert(&n.to_string(), vec![0; LARGEST]);
        }
        // What takes its own place takes no more.
        memory.insert("0", vec![1; LARGEST]);
        assert_eq!((memory.bytes, memory.get("0").map(|text| text[0])), (MOST, Some(1)));

        memory.insert("new", vec![2]);
        assert_eq!((memory.bytes, memory.get("new"), memory.get("1")), (1, Some(&[2][..]), None));
        memory.remove("new");
        assert_eq!(memory.bytes, 0);
    }
}
