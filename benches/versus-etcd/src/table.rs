//! The table of a run: a row a cell, both systems, and how many times better ours is.

use std::error::Error;
use std::fs;

use serde_json::Value;

/// Lines of `system reads clients json`, as `./run` notes them.
pub fn of(path: &str) -> Result<String, Box<dyn Error>> {
    let mut rows: Vec<(String, String, String, Value)> = Vec::new();
    for line in fs::read_to_string(path)?.lines() {
        let mut parts = line.splitn(4, ' ');
        let mut part = || parts.next().ok_or_else(|| format!("cut short: {line}"));
        let (system, reads, clients) = (part()?.to_owned(), part()?.to_owned(), part()?.to_owned());
        rows.push((system, reads, clients, serde_json::from_str(part()?)?));
    }
    let mut table = String::from(
        "| what | clients | etcd/s | ordeal/s | ratio | etcd p50 ms | ordeal p50 ms | ratio | etcd p99 ms | ordeal p99 ms | ratio |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut sync = None;
    for (system, reads, clients, value) in &rows {
        if system == "sync" {
            let at = |name: &str| value["all"][name].as_f64().unwrap_or(0.0) / 1e3;
            sync = Some((at("p50_us"), at("p99_us")));
        }
        if system != "ordeal" {
            continue;
        }
        let other = rows.iter().find(|row| row.0 == "etcd" && row.1 == *reads && row.2 == *clients);
        let Some((.., etcd)) = other else { continue };
        let of = |value: &Value, name: &str| value["both"][name].as_f64().unwrap_or(f64::NAN);
        let what = if reads == "1" { "linearizable get" } else { "put" };
        let (theirs, ours) = (of(etcd, "per_second"), of(value, "per_second"));
        table += &format!("| {what} | {clients} | {theirs:.0} | {ours:.0} | {:.1} |", ours / theirs);
        for name in ["p50_us", "p99_us"] {
            let (theirs, ours) = (of(etcd, name) / 1e3, of(value, name) / 1e3);
            table += &format!(" {theirs:.2} | {ours:.2} | {:.1} |", theirs / ours);
        }
        table += "\n";
        for (system, value) in [("etcd", etcd), ("ordeal", value)] {
            let lost = of(value, "failed") + value["both"]["unknown"].as_f64().unwrap_or(0.0);
            if lost > 0.0 {
                table += &format!("\n{system}: {lost} of the row above were not answered\n\n");
            }
        }
    }
    if let Some((p50, p99)) = sync {
        table += &format!(
            "\na bare 4 KiB pwrite + fdatasync on the same disk: p50 {p50:.3} ms, p99 {p99:.3} ms\n"
        );
        let one = rows.iter().find(|row| row.0 == "ordeal" && row.1 == "0" && row.2 == "1");
        if let Some((.., value)) = one {
            let put = value["both"]["p50_us"].as_f64().unwrap_or(f64::NAN) / 1e3;
            let rest = 1e3 * (put - 2.0 * p50);
            table += &format!(
                "one client's put at the median: {:.1} bare syncs, or two of them and {rest:.0} µs\n",
                put / p50
            );
        }
    }
    Ok(table)
}
