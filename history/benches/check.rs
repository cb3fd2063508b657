//! Operations a second of the judge: `cargo bench -p ordeal-history`. One key a history, 4 to 12 clients, a twentieth of
//! the writes without an answer; medians of five seeds.

#[path = "../tests/judge/generator.rs"]
mod generator;

use std::time::{Duration, Instant};

use ordeal_history::{Budget, Verdict, check};

use generator::{MIXES, Recipe, forget, make_stale, mutate, valid};

fn main() {
    let budget = Budget { time: Duration::from_secs(20), memory_bytes: 2 << 30 };
    println!("mix            clients operations  kind      verdict    ms (median)     operations/s");
    for mix in MIXES {
        for (clients, operations) in [(4, 128), (4, 1024), (8, 1024), (12, 1024)] {
            for kind in ["valid", "stale", "mutated"] {
                let recipe = Recipe { mix, clients, operations, crashed_of_ten: 0, pause_max: 50 };
                let mut runs: Vec<(Duration, Verdict)> = (0..5)
                    .map(|seed| {
                        let mut history = valid(&recipe, seed);
                        forget(&mut history, usize::try_from(operations / 40).expect("small"), seed);
                        match kind {
                            "stale" => make_stale(&mut history),
                            "mutated" => (0..4).for_each(|more| mutate(&mut history, seed * 10 + more)),
                            _ => {}
                        }
                        let start = Instant::now();
                        let report = check(&history, &budget, &|_| {});
                        (start.elapsed(), report.verdict)
                    })
                    .collect();
                runs.sort_by_key(|run| run.0);
                let (time, verdict) = runs[2];
                let ms = time.as_secs_f64() * 1000.0;
                let a_second = f64::from(u32::try_from(operations).expect("small")) / time.as_secs_f64();
                println!(
                    "{:<14} {clients:>7} {operations:>10}  {kind:<9} {verdict:<8} {ms:>12.2} {a_second:>16.0}",
                    format!("{mix:?}")
                );
            }
        }
    }
}
