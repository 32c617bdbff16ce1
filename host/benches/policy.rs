//! What WebAssembly costs: the default policy as a component, called as the engine calls it,
//! against the same source compiled natively. Only the ratios of one run say anything.

use std::hint::black_box;
use std::time::{Duration, Instant};

use assigner::model;
use assigner::policy::{Limits, Policy, rounds};
use assigner_policy::Policy as _;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;

#[path = "support/native.rs"]
mod native;

/// Tasks, and as many sessions.
const SIZES: [usize; 2] = [100, 1_000];

criterion_group!(benches, native_and_component);
criterion_main!(benches);

fn native_and_component(criterion: &mut Criterion) {
    let limits = Limits {
        time: Duration::from_secs(60),
        ..Limits::default()
    };
    let component = Policy::embedded(&limits, &Value::Null).expect("the default policy loads");
    let native = native::policy("{}");

    let mut group = criterion.benchmark_group("a round of the default policy");
    group.sample_size(20);
    for size in SIZES {
        let question = rounds::workload(size, size);
        let (round, tasks, sessions) = native::question(&question);
        let as_component = || component.decide(&question).expect("it decides");
        let as_native = || native.assign(&round, &tasks, &sessions);

        let decisions: Vec<_> = as_native().into_iter().map(native::decision).collect();
        assert_eq!(as_component(), decisions, "they do not do the same");

        group.throughput(Throughput::Elements((size * size) as u64));
        group.bench_function(BenchmarkId::new("native", size), |bencher| {
            bencher.iter(as_native);
        });
        group.bench_function(BenchmarkId::new("component", size), |bencher| {
            bencher.iter(as_component);
        });
        let (component, native) = (quickest(as_component), quickest(as_native));
        let ratio = component.as_secs_f64() / native.as_secs_f64();
        println!("{size} x {size}: the component takes {ratio:.2} times what native code takes");
    }
    group.finish();
}

/// The quickest of some runs is the one that was disturbed least.
fn quickest<T>(run: impl Fn() -> T) -> Duration {
    let time = |_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed()
    };
    (0..20).map(time).min().unwrap_or_default()
}
