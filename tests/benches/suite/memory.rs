//! Memory that a plugin has for itself, the size of its file, and how many instances fit into how much.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use portcullis::component::{ComponentBackend, ComponentOptions};
use portcullis::contract::{
    Backend as _, Call, Execute, Grants, InstanceReuse, Json, Limits, PluginName, PluginSpec, ProviderName,
};
use portcullis::host::services::Services;
use portcullis::policy::every_secret;
use portcullis_tests::{Empty, Gate, fixtures};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;

use crate::contenders::{Contender, Work, wrapped};
use crate::picture::Bar;
use crate::report::{Report, figure};

const MIB: f64 = 1024.0 * 1024.0;
const LIVE: u16 = 10_000;

pub(crate) fn measure(report: &mut Report) {
    let per_instance = live_instances();
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let programs = [
        ("Go plugin", fixtures::peer("echo")),
        ("Rust program", fixtures::native("echo")),
        ("component behind the shim", wrapped(scratch.path(), InstanceReuse::PerCall)),
    ];
    let mut rows = Vec::new();
    for (name, program) in programs {
        let mut plugin = Contender::under_go(name, &program);
        let work = Work {
            title: "",
            provider: "echo",
            input: r#"{"message":"hi"}"#.to_owned(),
            calls: 12_000,
            in_flight: 8,
        };
        plugin.round(&work);
        let process = plugin.process().expect("it has a process");
        let [anonymous, resident] = ["Anonymous:", "Rss:"].map(|key| of_process(&process.to_string(), key));
        let size = program.metadata().expect("it is a file").len() as f64;
        rows.push(vec![name.to_owned(), figure(anonymous / MIB), figure(resident / MIB), figure(size / MIB)]);
        report.memory.push(Bar { name: name.to_owned(), value: anonymous / MIB, ours: name != "Go plugin" });
    }
    rows.push(vec![
        "one more instance in our host".to_owned(),
        figure(per_instance / MIB),
        String::new(),
        String::new(),
    ]);
    report.memory.push(Bar {
        name: "instance in our host".to_owned(),
        value: per_instance / MIB,
        ours: true,
    });
    let head = ["MiB, after 12,000 calls", "anonymous", "resident", "file"];
    report.table("Memory of one plugin", &head, &rows);
    report.say(&format!(
        "{LIVE} instances that were alive at once had {} MiB of anonymous memory together.",
        figure(per_instance * f64::from(LIVE) / MIB)
    ));
}

/// Gives nobody a secret before all have asked, and measures then.
#[derive(Debug)]
struct Gathering {
    all: Barrier,
    measured: std::sync::OnceLock<f64>,
}

#[async_trait]
impl Gate for Gathering {
    async fn pass(&self) {
        if self.all.wait().await.is_leader() {
            self.measured.get_or_init(|| of_process("self", "Anonymous:"));
        }
        // Nobody leaves before it was measured.
        self.all.wait().await;
    }
}

/// Returns the bytes that each of many instances adds, all of them in the middle of a call.
fn live_instances() -> f64 {
    let runtime = Runtime::new().expect("a runtime");
    let options = ComponentOptions { slots: LIVE, ..fixtures::component_options() };
    let backend = ComponentBackend::new(options).expect("this machine can run components");
    let store =
        Arc::new(Empty(Gathering { all: Barrier::new(LIVE.into()), measured: std::sync::OnceLock::new() }));
    let grants = Grants { secrets: every_secret(), ..Grants::default() };
    let name = PluginName::new("keeper");
    let services = Services::new(name.clone(), &grants, Some(Arc::clone(&store) as _), None);
    let spec = PluginSpec {
        limits: Limits { concurrency: Some(LIVE.into()), ..Limits::default() },
        host: Some(Arc::new(services)),
        grants,
        ..PluginSpec::new(name, fixtures::guest("keeper"))
    };
    runtime.block_on(async {
        let provider = backend.launch_provider(spec).await.expect("the component starts");
        let before = of_process("self", "Anonymous:");
        let calls: Vec<_> = (0..LIVE)
            .map(|_| {
                let provider = Arc::clone(&provider);
                tokio::spawn(async move {
                    let input = Json::from_text(r#"{"operation":"get","name":"a"}"#);
                    provider.execute(&Call::default(), Execute::new(ProviderName::new("keeper"), input)).await
                })
            })
            .collect();
        for call in calls {
            call.await.expect("a caller comes to its end").expect("a benchmarked call works");
        }
        (store.0.measured.get().expect("all were there") - before) / f64::from(LIVE)
    })
}

/// Returns the bytes that the kernel counts under that name for a process.
fn of_process(process: &str, key: &str) -> f64 {
    let path = Path::new("/proc").join(process).join("smaps_rollup");
    let text = std::fs::read_to_string(path).expect("the process is there");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel counts it");
    let kib = line.trim().trim_end_matches("kB").trim();
    kib.parse::<f64>().expect("a number of KiB") * 1024.0
}
