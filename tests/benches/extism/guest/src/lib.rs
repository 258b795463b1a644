//! The guest `echo` for Extism: one function parses JSON and writes it again, the other does nothing.
//!
//! It talks to Extism by its own imports and needs nothing of WASI, so that its instances are as small as they can be.

#![no_std]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

#[link(wasm_import_module = "extism:host/env")]
unsafe extern "C" {
    fn input_length() -> u64;
    fn input_load_u64(offset: u64) -> u64;
    fn input_load_u8(offset: u64) -> u32;
    fn alloc(length: u64) -> u64;
    fn store_u64(offset: u64, value: u64);
    fn store_u8(offset: u64, value: u32);
    fn output_set(offset: u64, length: u64);
}

fn input() -> Vec<u8> {
    // SAFETY: Extism's functions take any number, and answer 0 beyond the end.
    unsafe {
        let length = input_length();
        let mut bytes = Vec::with_capacity(length as usize);
        let whole = length - length % 8;
        for at in (0..whole).step_by(8) {
            bytes.extend_from_slice(&input_load_u64(at).to_le_bytes());
        }
        for at in whole..length {
            bytes.push(input_load_u8(at) as u8);
        }
        bytes
    }
}

fn output(bytes: &[u8]) {
    // SAFETY: what is written lies within what was just allocated.
    unsafe {
        let length = bytes.len() as u64;
        let place = alloc(length);
        let mut chunks = bytes.chunks_exact(8);
        let mut at = place;
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            store_u64(at, u64::from_le_bytes(word));
            at += 8;
        }
        for byte in chunks.remainder() {
            store_u8(at, u32::from(*byte));
            at += 1;
        }
        output_set(place, length);
    }
}

/// Answers with an empty object.
#[unsafe(no_mangle)]
pub extern "C" fn noop() -> i32 {
    output(b"{}");
    0
}

/// Answers with its input, parsed and written again.
#[unsafe(no_mangle)]
pub extern "C" fn echo() -> i32 {
    match serde_json::from_slice::<serde_json::Value>(&input()) {
        Ok(value) => {
            let text: String = serde_json::to_string(&value).unwrap_or_default();
            output(text.as_bytes());
            0
        }
        Err(_) => 1,
    }
}
