//! Makes rounds of calls in Extism, as it is told on stdin, and says how long each took.
//!
//! Built by hand, for `cargo bench -p portcullis-tests` to find:
//!
//! ```sh
//! cd tests/benches/extism
//! cargo build --profile guest --target wasm32-wasip2 -p extism-guest
//! cargo build --release
//! ```
//!
//! A line is `FUNCTION fresh|kept CALLS INPUT`; the answer is a line of nanoseconds, of each call and of all together.
//! A fresh call makes an instance of a compiled plugin, calls it, and drops it. Memory and time are limited.

use std::error::Error;
use std::io::BufRead as _;
use std::time::{Duration, Instant};

use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};

fn main() -> Result<(), Box<dyn Error>> {
    let guest = std::env::args().nth(1).ok_or("which guest?")?;
    let manifest = Manifest::new([Wasm::data(std::fs::read(guest)?)]).with_memory_max(1024).with_timeout(Duration::from_secs(30));
    let compiled = CompiledPlugin::new(PluginBuilder::new(manifest).with_wasi(false))?;
    let mut kept = Plugin::new_from_compiled(&compiled)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().ok_or("a line has four words");
        let (function, instance, calls, input) = (word()?, word()?, word()?.parse()?, word()?);
        let mut each = Vec::<u128>::with_capacity(calls);
        let begun = Instant::now();
        for _ in 0..calls {
            let started = Instant::now();
            let answer: Vec<u8> = match instance {
                "fresh" => Plugin::new_from_compiled(&compiled)?.call(function, input)?,
                _ => kept.call(function, input)?,
            };
            each.push(started.elapsed().as_nanos());
            assert!(!answer.is_empty());
        }
        let together = begun.elapsed().as_nanos();
        let words: Vec<_> = each.iter().chain([&together]).map(u128::to_string).collect();
        println!("{}", words.join(" "));
    }
    Ok(())
}
