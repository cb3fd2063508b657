//! A small file of each format, and how to read texts.

use std::io::Cursor;
use std::path::Path;

use ordeal_history::formats::{Format, FormatError, Imported, Reader, collect};

pub const ORDEAL: &str = r#"{"ordeal-history":1,"model":"key-value","notes":{"seed":"7"}}
{"invoke":{"op":0,"client":1,"key":"k1","time_ns":1000,"call":{"write":"a"}}}
{"return":{"op":0,"time_ns":2500,"ok":"done","made":"1.42","node":"n3"}}
{"invoke":{"op":1,"client":1,"key":"k1","time_ns":3000,"call":"read"}}
{"return":{"op":1,"time_ns":3100,"ok":{"value":"a"}}}
"#;

pub const JEPSEN: &str = r#"{:index 0, :time 30217865, :type :invoke, :process 0, :f :write, :value [0 3]}
{:index 1, :time 31870112, :type :info, :process :nemesis, :f :start-partition, :value :majority}
{:index 2, :time 35990001, :type :ok, :process 0, :f :write, :value [0 3]}
{:index 3, :time 40000321, :type :info, :process :nemesis, :f :start-partition, :value [:isolated {"n1" #{"n3" "n2"}, "n2" #{"n1"}}]}
{:index 4, :time 41002113, :type :invoke, :process 1, :f :read, :value [0 nil]}
{:index 5, :time 5041002113, :type :info, :process 1, :f :read, :value [0 nil], :error :net-timeout}
{:index 6, :time 5041990113, :type :invoke, :process 6, :f :cas, :value [0 [3 4]]}
{:index 7, :time 5043000001, :type :fail, :process 6, :f :cas, :value [0 [3 4]], :error [:precondition-failed "current value 1 is not 3"]}
"#;

/// As Knossos's files are: one vector, comments, no times, no keys, discards and tags.
pub const KNOSSOS: &str = r#"; This used to expose a bug
[{:process 4, :type :invoke, :f :write, :value 2}
 #_ {:process 99, :type :ok, :f :write, :value 2}
 {:process 4, :type :ok, :f :write, :value 2}
 #jepsen.history.Op{:process 6, :type :invoke, :f :read, :value nil}
 {:process 1, :type :invoke, :f :cas, :value [2 4] :extra [1/2 2.5M 10N \a \newline ##Inf #inst "2026-11-22"]}
 {:process 1, :type :fail, :f :cas, :value [2 4]}
 {:process 6, :type :ok, :f :read, :value 2}]
"#;

pub const TEXT: &str = "0\t:invoke\t:write\t[0 3]\n:nemesis\t:info\t:start-partition\t:majority\n\
    0\t:ok\t:write\t[0 3]\n1\t:invoke\t:read\t[0 nil]\n1\t:info\t:read\t[0 nil]\tindeterminate: gone {\n";

pub const LOG: &str = "INFO  jepsen.core - Run starting\nINFO  jepsen.util - 0\t:invoke\t:write\t3\n\
    INFO  jepsen.util - 2   :invoke :cas    [1 2]\nINFO  jepsen.util - 2   :fail   :cas    [1 2]\n\
    INFO  jepsen.util - 0\t:info\t:write\t:timed-out\nINFO  jepsen.util - 1\t:invoke\t:read\tnil\n\
    INFO  jepsen.util - 1\t:ok\t:read\t3\n";

pub const KV: &str = r#"{:process 9, :type :invoke, :f :append, :key "0", :value "x 9 0 y"}
{:process 9, :type :ok, :f :append, :key "0", :value "x 9 0 y"}
{:process 1, :type :invoke, :f :get, :key "9", :value nil}
{:process 1, :type :ok, :f :get, :key "9", :value ""}
{:process 1, :type :invoke, :f :get, :key "0", :value nil}
{:process 1, :type :ok, :f :get, :key "0", :value "x 9 0 y"}
"#;

pub const ETCD: &str = r#"{
  "ClientId": 3,
  "Input": {"Type":"txn","LeaseGrant":null,"Range":null,
    "Txn":{"Conditions":null,
      "OperationsOnSuccess":[{"Type":"put-operation","Range":{"Start":"","End":"","Limit":0},
        "Put":{"Key":"key1","Value":{"Value":"7"},"LeaseID":0},"Delete":{"Key":""}}],
      "OperationsOnFailure":null}},
  "Call": 1044000000,
  "Output": {"Txn":{"Failure":false,"Results":[{"KVs":null,"Count":0,"Deleted":0}]},"ClientError":"","Revision":168,"Error":""},
  "Return": 1045000000
}
{
  "ClientId": 3,
  "Input": {"Type":"range","Range":{"Start":"key1","End":"","Limit":0,"Revision":0},"Txn":null},
  "Call": 1046000000,
  "Output": {"Txn":null,"Range":{"KVs":[{"Key":"key1","Value":{"Value":"7"},"ModRevision":168,"Version":1}],"Count":1},"ClientError":"","Error":""},
  "Return": 1047000000
}
"#;

pub const ELLE: &str = r#"[{"type":"invoke","f":"txn","value":[["append","x",2]],"process":0,"time":10,"index":0},
 {"type":"ok","f":"txn","value":[["append","x",2]],"process":0,"time":20,"index":1},
 {"type":"invoke","f":"txn","value":[["r","x",null]],"process":1,"time":30,"index":2},
 {"type":"ok","f":"txn","value":[["r","x",[2]]],"process":1,"time":40,"index":3}]
"#;

/// A sample of each text format, as the format that it is known as.
pub const SAMPLES: [(Format, &str); 8] = [
    (Format::Ordeal, ORDEAL),
    (Format::Jepsen, JEPSEN),
    (Format::Jepsen, KNOSSOS),
    (Format::JepsenText, TEXT),
    (Format::JepsenLog, LOG),
    (Format::PorcupineKv, KV),
    (Format::Etcd, ETCD),
    (Format::Elle, ELLE),
];

/// Reads a text as what it seems to be.
pub fn read(text: &str) -> Result<Imported, FormatError> {
    read_as(text.as_bytes(), None)
}

/// Reads bytes as this format.
pub fn read_as(bytes: &[u8], format: Option<Format>) -> Result<Imported, FormatError> {
    collect(Reader::on(Path::new("history"), Cursor::new(bytes.to_vec()), format)?)
}
