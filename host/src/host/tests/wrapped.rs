//! Files that were wrapped, by this version or another.

use std::path::Path;

use portcullis_bundle::{Durability, Existing, Manifest, Parts, write};
use portcullis_contract::HeldBy;

use super::*;

const PROGRAM: &[u8] = b"\x7fELF----";

/// Writes a file that says that it carries a component.
fn wrap(path: &Path) {
    let manifest = Manifest {
        version: String::new(),
        name: PluginName::new("wrapped"),
        kind: Kind::Provider,
        component: Digest::from_sha256([7; 32]),
        imports: Vec::new(),
        engine: String::new(),
        class: 0,
        instances: InstanceReuse::PerCall,
        grants: Grants::default(),
        limits: Limits::default(),
        offers: Vec::new(),
        description: Description::Providers(Vec::new()).to_text().unwrap(),
    };
    let parts = Parts { program: PROGRAM, image: b"compiled", manifest: &manifest };
    write(path, &parts, Existing::Keep, Durability::Passing).unwrap();
}

/// Changes a file as if a version had wrapped it that calls something in the manifest by another name.
fn make_foreign(path: &Path) {
    let mut whole = fs::read(path).unwrap();
    let key = whole.windows(11).position(|bytes| bytes == b"\"component\"").unwrap();
    whole[key + 1] = b'C';
    // The digest over all that follows the program, and the eight bytes that end the file.
    let at = whole.len() - 40;
    let digest = blake3::hash(&whole[PROGRAM.len()..at]);
    whole[at..at + 32].copy_from_slice(digest.as_bytes());
    fs::write(path, whole).unwrap();
}

#[tokio::test]
async fn a_wrapped_file_is_read_once_to_be_listed() {
    let house = House::new(&[("native", "three")]);
    wrap(&house.path("wrapped"));

    let mut setup = house.setup();
    let reads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&reads);
    setup.wrapped = Some(Arc::new(move |_| {
        *counted.lock().unwrap() += 1;
        true
    }));
    let listing = Host::new(setup).list(Describe::Trusted).await.unwrap();

    let wrapped: Vec<_> = listing.plugins.iter().map(|listed| listed.wrapped.is_some()).collect();
    assert_eq!((wrapped, *reads.lock().unwrap()), (vec![false, true], 1));
    assert_eq!(house.launches(), Vec::<String>::new());
}

/// A limit that the kernel holds would be on the address space of the whole engine.
#[tokio::test]
async fn what_another_version_wrapped_holds_itself_to_its_limits() {
    for (known, held_by) in [(true, HeldBy::Itself), (false, HeldBy::Kernel)] {
        let house = House::new(&[("native", "three")]);
        let path = house.path("wrapped");
        wrap(&path);
        make_foreign(&path);
        let mut setup = house.setup();
        setup.wrapped = Some(Arc::new(move |_| known));
        setup.policy = Arc::new(|_| {
            let limits = Limits { memory: Some(1 << 20), ..Limits::default() };
            PluginSettings { limits, ..PluginSettings::default() }
        });
        let host = Host::new(setup);

        let listing = host.list(Describe::Trusted).await.unwrap();
        assert!(listing.plugins.iter().all(|listed| listed.wrapped.is_none()));
        let _fake = host.find(&Wanted::File(path, None), Describe::Trusted).await;
        let specs = house.world.specs.lock().unwrap();
        assert_eq!(specs.iter().map(|spec| spec.held_by).collect::<Vec<_>>(), [held_by]);
    }
}
