//! What a component may touch: the files and the places on the network that were granted, and nothing else.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::contract::{Access, CallError, FsGrant, chain};
use portcullis_tests::auth::refusal;
use portcullis_tests::{Door, TestHost, TestResult, assert_matches};
use serde_json::{Value, json};
use test_case::test_case;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_granted_is_nothing_seen() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let plugin = host.launch("acrobat").await?;
    let manifest = env!("CARGO_MANIFEST_DIR");
    for input in [
        format!(r#"{{"operation":"read","path":"{manifest}/Cargo.toml"}}"#),
        r#"{"operation":"read","path":"/etc/passwd"}"#.to_owned(),
        format!(r#"{{"operation":"write","path":"{}/x","text":"x"}}"#, host.scratch().display()),
        r#"{"operation":"connect","address":"127.0.0.1:9"}"#.to_owned(),
    ] {
        let refused = refusal(plugin.execute("acrobat", &input).await);
        assert!(!refused.starts_with("unknown operation"), "{refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_directory_is_all_that_is_seen_and_reading_is_not_writing() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let (inside, outside) = (host.scratch().join("inside"), host.scratch().join("outside"));
    fs::create_dir(&inside)?;
    fs::create_dir(&outside)?;
    fs::write(inside.join("note"), "hello")?;
    fs::write(outside.join("note"), "secret")?;
    symlink(&outside, inside.join("way-out"))?;
    let grant = |access| vec![FsGrant { host: inside.clone(), guest: "/data".to_owned(), access }];

    host.grants.fs = grant(Access::Read);
    let plugin = host.launch("acrobat").await?;
    let read = plugin.execute("acrobat", r#"{"operation":"read","path":"/data/note"}"#).await?;
    assert!(read.data.as_str().contains("hello"), "{}", read.data.as_str());
    for input in [
        r#"{"operation":"read","path":"/data/../outside/note"}"#,
        r#"{"operation":"read","path":"/data/way-out/note"}"#,
        r#"{"operation":"write","path":"/data/new","text":"x"}"#,
    ] {
        assert_matches!(plugin.execute("acrobat", input).await, Err(CallError::Refused(_)), "{input}");
    }

    host.grants.fs = grant(Access::Write);
    let plugin = host.launch("acrobat").await?;
    plugin.execute("acrobat", r#"{"operation":"write","path":"/data/new","text":"x"}"#).await?;
    assert_eq!(fs::read_to_string(inside.join("new"))?, "x");
    Ok(())
}

/// A plugin that may write beside it could have its name stand for something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_directory_stays_the_one_that_was_granted() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let [inside, outside, moved] = ["inside", "outside", "moved"].map(|name| host.scratch().join(name));
    for (directory, text) in [(&inside, "hello"), (&outside, "secret")] {
        fs::create_dir(directory)?;
        fs::write(directory.join("note"), text)?;
    }
    host.grants.fs = vec![FsGrant { host: inside.clone(), guest: "/data".to_owned(), access: Access::Read }];
    let plugin = host.launch("acrobat").await?;
    fs::rename(&inside, moved)?;
    symlink(&outside, &inside)?;
    let read = plugin.execute("acrobat", r#"{"operation":"read","path":"/data/note"}"#).await?;
    assert!(read.data.as_str().contains("hello"), "{}", read.data.as_str());
    Ok(())
}

/// What it reads of a file waits in the host's memory until it takes it, and none of that counts as its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_goes_in_pieces() -> TestResult {
    const PIECE: usize = 64 << 10;
    let mut host = TestHost::new(Door::Component);
    let directory = host.scratch().join("files");
    fs::create_dir(&directory)?;
    fs::write(directory.join("large"), vec![b'x'; 4 * PIECE])?;
    host.grants.fs = vec![FsGrant { host: directory, guest: "/data".to_owned(), access: Access::Write }];
    let plugin = host.launch("acrobat").await?;
    let told = plugin.execute("acrobat", r#"{"operation":"file-at-once","path":"/data/large"}"#).await?;
    let told: Value = serde_json::from_str(told.data.as_str())?;
    assert_eq!(told, json!({"read": PIECE, "room": PIECE}));
    let whole = plugin.execute("acrobat", r#"{"operation":"read","path":"/data/large"}"#).await?;
    let whole: Value = serde_json::from_str(whole.data.as_str())?;
    assert_eq!(whole["text"].as_str().map(str::len), Some(4 * PIECE));
    let beyond =
        plugin.execute("acrobat", r#"{"operation":"file-at-once","path":"/data/large","size":1}"#).await;
    let Err(fell) = beyond else { panic!("it may write more than it may") };
    let why = chain(&fell);
    assert!(why.ends_with("wrote more to a file than it was permitted"), "{why}");
    Ok(())
}

/// They lie with the host, and take none of the guest's own memory.
#[test_case(60, 3, true; "some, and then others")]
#[test_case(101, 1, false; "many")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_hoards_no_listings_of_directories(listings: usize, repeat: usize, may: bool) -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let directory = host.scratch().join("files");
    fs::create_dir(&directory)?;
    for number in 0..1_000 {
        fs::write(directory.join(number.to_string()), "")?;
    }
    host.grants.fs = vec![FsGrant { host: directory, guest: "/data".to_owned(), access: Access::Read }];
    let plugin = host.launch("acrobat").await?;
    let input = format!(r#"{{"operation":"listings","path":"/data","chunks":{listings},"repeat":{repeat}}}"#);
    let kept = plugin.execute("acrobat", &input).await;
    assert_eq!(kept.is_ok(), may, "{kept:?}");
    Ok(())
}

/// A server that answers one request with 200 and a body, and counts how many came.
fn serve_hello() -> Result<(String, Arc<AtomicUsize>), std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    // It waits for requests until the process of the tests ends.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    Ok((format!("http://{address}"), count))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_reaches_the_authority_that_was_granted_and_no_other() -> TestResult {
    let (granted, came) = serve_hello()?;
    let (other, strayed) = serve_hello()?;
    let ask = |url: &str| format!(r#"{{"operation":"http","url":"{url}/path"}}"#);

    let mut host = TestHost::new(Door::Component);
    let plugin = host.launch("acrobat").await?;
    assert_matches!(plugin.execute("acrobat", &ask(&granted)).await, Err(CallError::Refused(_)));
    assert_eq!(came.load(Ordering::SeqCst), 0);

    host.grants.http = vec![granted.parse()?];
    let plugin = host.launch("acrobat").await?;
    let answer = plugin.execute("acrobat", &ask(&granted)).await?;
    let answer: Value = serde_json::from_str(answer.data.as_str())?;
    assert_eq!(answer, json!({"status": 200, "body": "hello"}));
    assert_matches!(plugin.execute("acrobat", &ask(&other)).await, Err(CallError::Refused(_)));
    assert_eq!(strayed.load(Ordering::SeqCst), 0);
    Ok(())
}

/// `localhost.` and friends resolve to us; a grant of a name is a grant of what is public under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_name_that_leads_to_a_private_address_leads_nowhere() -> TestResult {
    let (address, came) = serve_hello()?;
    let port = address.rsplit(':').next().unwrap_or_default();
    let url = format!("http://localhost.:{port}");
    let mut host = TestHost::new(Door::Component);
    host.grants.http = vec![url.parse()?];
    let plugin = host.launch("acrobat").await?;
    let input = format!(r#"{{"operation":"http","url":"{url}/"}}"#);
    assert_matches!(plugin.execute("acrobat", &input).await, Err(CallError::Refused(_)));
    assert_eq!(came.load(Ordering::SeqCst), 0);
    Ok(())
}

/// It could be turned elsewhere before the plugin's next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_no_directory_to_grant() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let (directory, link) = (host.scratch().join("files"), host.scratch().join("link"));
    fs::create_dir(&directory)?;
    symlink(&directory, &link)?;
    host.grants.fs = vec![FsGrant { host: link, guest: "/data".to_owned(), access: Access::Read }];
    let refused = chain(&host.launch("acrobat").await.err().ok_or("it is a link")?);
    assert!(refused.ends_with("it is a symbolic link; grant the directory that it leads to"), "{refused}");
    Ok(())
}
