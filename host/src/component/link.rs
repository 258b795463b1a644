//! What a component is linked with: the packages that it imports from, and no others.
//!
//! This grants nothing: what was not granted is denied behind every import. It saves time at a start. WASI has two
//! hundred functions, few components import a third of them, and linking all takes longer than everything else that an
//! engine does.

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random, sockets};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};

use crate::component::bindings::ProviderPlugin;
use crate::component::bindings::auth::portcullis::plugin::prompts;
use crate::component::files::replace_calls;
#[cfg(feature = "http")]
use crate::component::http::bound_requests;
use crate::component::state::State;

type Add = fn(&mut Linker<State>) -> wasmtime::Result<()>;

/// The packages of WASI 0.2 that a component may import from, and what each adds to what [every
/// component](every) is linked with.
const WASI: &[(&str, Add)] = &[
    ("cli", add_cli),
    ("clocks", |_| Ok(())),
    ("filesystem", add_filesystem),
    #[cfg(feature = "http")]
    ("http", add_http),
    ("io", |_| Ok(())),
    ("random", add_random),
    ("sockets", add_sockets),
];

/// Says whether a component may import from that package of WASI 0.2.
pub(crate) fn is_linked(package: &str) -> bool {
    WASI.iter().any(|(name, _)| *name == package)
}

/// Returns a linker with all that the component may want of what it says that it imports.
pub(crate) fn linker(component: &Component) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(component.engine());
    every(&mut linker)?;
    let imports = component.component_type();
    for (package, add) in WASI {
        let is_of_it = |name: &str| {
            let of_wasi = name.strip_prefix("wasi:").and_then(|rest| rest.strip_prefix(package));
            of_wasi.is_some_and(|rest| rest.starts_with('/'))
        };
        if imports.imports(component.engine()).any(|(name, _)| is_of_it(name)) {
            add(&mut linker)?;
        }
    }
    Ok(linker)
}

/// Adds what nearly every component imports: streams, clocks, standard output, and our own interfaces for both worlds.
/// Which of those a kind of plugin may import was checked when it was read.
fn every(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    ProviderPlugin::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    prompts::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

fn add_cli(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    cli::environment::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, State::cli)
}

fn add_filesystem(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    filesystem::types::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    replace_calls(linker)
}

#[cfg(feature = "http")]
fn add_http(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    bound_requests(linker)
}

fn add_random(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    random::insecure::add_to_linker::<State, WasiRandom>(linker, State::random)?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(linker, State::random)
}

fn add_sockets(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<State, WasiSockets>(linker, &options, State::sockets)?;
    sockets::instance_network::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::tcp::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::udp_create_socket::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::udp::add_to_linker::<State, WasiSockets>(linker, State::sockets)
}

#[cfg(all(test, feature = "compile"))]
mod tests {
    use wasmtime::Engine;

    use super::*;
    use crate::component::engine::compiling;

    #[test]
    fn each_package_is_linked_to_who_imports_from_it() {
        let engine = Engine::new(&compiling()).unwrap();
        let resource = |name: &str| format!(r#"(export "{name}" (type (sub resource)))"#);
        for (interface, export) in [
            ("cli/terminal-input", resource("terminal-input")),
            ("clocks/monotonic-clock", r#"(export "resolution" (func (result u64)))"#.to_owned()),
            ("filesystem/types", resource("descriptor")),
            #[cfg(feature = "http")]
            ("http/types", resource("fields")),
            ("io/error", resource("error")),
            ("random/insecure", r#"(export "get-insecure-random-u64" (func (result u64)))"#.to_owned()),
            ("sockets/network", resource("network")),
        ] {
            let package = interface.split('/').next().unwrap();
            assert!(is_linked(package), "{package}");
            for patch in [0, 6, 12] {
                let text =
                    format!(r#"(component (import "wasi:{interface}@0.2.{patch}" (instance {export})))"#);
                let component = Component::new(&engine, wat::parse_str(&text).unwrap()).unwrap();
                let linked = linker(&component).unwrap().instantiate_pre(&component);
                assert!(linked.is_ok(), "{text}: {:?}", linked.err());
            }
        }
    }
}
