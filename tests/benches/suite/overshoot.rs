//! How long after its deadline a guest that spins is stopped.

use std::time::{Duration, Instant};

use portcullis::contract::{Call, Execute, Json, Limits, ProviderName};
use portcullis_tests::{Door, LONG, TestHost};
use tokio::runtime::Runtime;

use crate::measure::{Times, micros};
use crate::report::{Report, figure};

const CALLS: usize = 200;
const TIME: Duration = Duration::from_millis(25);

pub(crate) fn measure(report: &mut Report) {
    let runtime = Runtime::new().expect("a runtime");
    let launch = |limits: Limits| {
        let mut host = TestHost::new(Door::Component);
        host.limits = limits;
        let provider = runtime.block_on(host.launch("acrobat")).expect("the component starts").provider;
        (host, provider)
    };
    let spin = || Execute::new(ProviderName::new("acrobat"), Json::from_text(r#"{"operation":"spin"}"#));

    let (_host, patient) = launch(Limits { cpu: Some(LONG), ..Limits::default() });
    let deadline = times(|| {
        let provider = std::sync::Arc::clone(&patient);
        runtime.block_on(async {
            let until = Instant::now() + TIME;
            let call = Call { deadline: Some(until) };
            // As the host's own rooms end a call.
            let spin = tokio::spawn(tokio::time::timeout_at(until.into(), async move {
                provider.execute(&call, spin()).await.map(drop)
            }));
            assert!(spin.await.expect("it ends").is_err(), "it spins");
            until.elapsed()
        })
    });
    let (_host, short) = launch(Limits { cpu: Some(TIME), ..Limits::default() });
    let processor = times(|| {
        let begun = Instant::now();
        let stopped = runtime.block_on(short.execute(&Call::default(), spin()));
        assert!(stopped.is_err(), "it spins");
        begun.elapsed().saturating_sub(TIME)
    });
    let row = |what: &str, times: &Times| {
        vec![what.to_owned(), figure(times.p50() / 1e3), figure(times.p99() / 1e3)]
    };
    let rows = [row("the call's deadline", &deadline), row("its processor time", &processor)];
    report.table("A guest that spins is stopped so late, ms", &["after", "p50", "p99"], &rows);
}

fn times(mut once: impl FnMut() -> Duration) -> Times {
    Times::new((0..CALLS).map(|_| micros(once())).collect(), 1.0)
}
