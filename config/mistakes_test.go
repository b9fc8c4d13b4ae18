package config

import (
	"strings"
	"testing"
)

// around puts parts into a file that is right otherwise. Each part begins in line 2, column 1.
func top(part string) string { return least + part }

// pipeline puts keys into the pipeline, from line 4, column 5 on.
func pipeline(part string) string {
	return "pipelines:\n  logs:\n    sources: [stdin: {}]\n    " + part + "\n    destinations: [file: {path: out}]\n"
}

// source is a file whose one source stands in line 4, from column 9 on.
func source(part string) string {
	return "pipelines:\n  logs:\n    sources:\n      - " + part + "\n    destinations: [file: {path: out}]\n"
}

// destination is a file whose destinations stand from line 5 on, the first at column 9.
func destination(part string) string {
	return "pipelines:\n  logs:\n    sources: [stdin: {}]\n    destinations:\n      - " + part + "\n"
}

// s3 is a file with one S3 destination, the section in line 5, its settings from column 14 on.
func s3(part string) string { return destination("s3: {" + part + "}") }

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		what, text string
		want       []string // without the file's name
	}{
		// the text
		{"an empty file", "", []string{"1:1: an empty file, write at least pipelines: with one source and one destination"}},
		{"only a comment", "# soon\n", []string{"1:1: an empty file, write at least pipelines: with one source and one destination"}},
		{"only a header", "---\n", []string{"1:1: an empty file, write at least pipelines: with one source and one destination"}},
		{"a text", "hydrant\n", []string{`1:1: the file: "hydrant", write a mapping (key: value, or {key: value})`}},
		{"a list", "- a\n", []string{"1:1: the file: a list, write a mapping (key: value, or {key: value})"}},
		{"null", "~\n", []string{"1:1: the file: nothing, write a mapping (key: value, or {key: value})"}},
		{"a tab", "pipelines:\n\tlogs: {}\n", []string{"2:1: a tab in the indentation, indent with spaces"}},
		{"a tab behind spaces", "log:\n  level: info\n  \tformat: text\n", []string{"3:3: a tab in the indentation, indent with spaces"}},
		{"an anchor and an alias", "log: &l {level: info}\nadmin: *l\n", []string{
			"1:6: an anchor (&), write the value out at each place, or quote it if it is text", "2:8: an alias (*), write the value out, or quote it if it is text"}},
		{"a merge key", "log:\n  <<: {level: info}\n", []string{"2:3: a merge key (<<), write the keys out"}},
		{"a tag", "memory: !!str 256MiB\n", []string{"1:9: a tag (!), write the value without it, or quote it if it is text"}},
		{"a directive", "%YAML 1.2\n---\n" + least, []string{"1:1: a directive (%), leave it out, or quote the value if it is text"}},
		{"a complex key", "? log\n: {}\n", []string{"1:1: a key written with ?, write key: value"}},
		{"two documents", least + "---\n" + least, []string{"2:1: a second document (---), one file holds one configuration"}},
		{"a second header", "---\n---\n" + least, []string{"2:1: a second document (---), one file holds one configuration"}},
		{"text behind the end", least + "...\nlog: {}\n", []string{"3:1: text behind the document's end (...), one file holds one configuration"}},
		{"an open brace", "log: {level: info\n", []string{"1:6: a { that is not closed, write }"}},
		{"an open bracket", "log: [level\n", []string{"1:6: a [ that is not closed, write ]"}},
		{"an open quote", "data_dir: 'x\n", []string{"1:11: a ' that is not closed, write ' at the end of the value"}},
		{"an open double quote", "data_dir: \"x\n", []string{`1:11: a " that is not closed, write " at the end of the value`}},
		{"two colons", "data_dir: a: b\n", []string{`1:11: a second ": " in a value, or a line indented too far, put the value in quotes, or mend the indentation`}},
		{"a reserved character", "data_dir: @x\n", []string{"1:11: a value that starts with a reserved character, put it in quotes"}},
		{"no UTF-8", "log: {}\ndata_dir: ä\xff\n", []string{"2:12: a byte that is not UTF-8, save the file as UTF-8"}},
		{"a byte order mark and CRLF", "\ufefflog:\r\n  level: loud\r\n" + least, []string{`2:10: level: "loud", one of debug, info, warn, error`}},
		{"behind a value of several lines", "data_dir: 'a\n  b'\nmemory: 1kB\n" + least, []string{"3:9: memory: 1kB, at least 64MiB"}},
		{"behind letters of several bytes", "log: {\"level\": \"wärn\", format: xml}\n" + least,
			[]string{`1:16: level: "wärn", one of debug, info, warn, error`, `1:32: format: "xml", one of text, json`}},
		{"a control character", "data_dir: a\x00b\n", []string{`1:12: the control character U+0000, write it as an escape in double quotes, such as "\n"`}},
		{"deep nesting", "log: " + strings.Repeat("[", 100) + "\n", []string{"1:70: more than 64 levels of nesting, a flatter file"}},
		{"deep lists", strings.Repeat("- ", 100) + "\n", []string{"1:129: more than 64 levels of nesting, a flatter file"}},

		// keys
		{"a key twice", top("log: {level: info, level: warn}\n"), []string{`2:20: "level" a second time, first in line 2, keep one of them`}},
		{"a section twice", top("log: {}\nlog: {}\n"), []string{`3:1: "log" a second time, first in line 2, keep one of them`}},
		{"a pipeline twice", "pipelines:\n  a: {sources: [stdin: {}], destinations: [file: {path: o}]}\n  a: {}\n", []string{`3:3: "a" a second time, first in line 2, keep one of them`}},
		{"an unknown key", top("dta_dir: x\n"), []string{`2:1: the unknown key "dta_dir", did you mean data_dir?`}},
		{"an unknown key, like nothing", top("wholly_else: x\n"), []string{`2:1: the unknown key "wholly_else", one of data_dir, memory, log, shutdown, admin, pipelines`}},
		{"another case", top("Memory: 1GiB\n"), []string{`2:1: the unknown key "Memory", did you mean memory?`}},
		{"a nested unknown key", top("log: {levle: info}\n"), []string{`2:7: the unknown key "levle", did you mean level?`}},
		{"an unknown key of a section", s3("bucket: b, comression: gzip"), []string{`5:25: the unknown key "comression", did you mean compression?`}},
		{"a misspelt key is not missing as well", s3("buket: b"), []string{`5:14: the unknown key "buket", did you mean bucket?`}},
		{"an unknown key below a section", s3("bucket: b, sse: {aes: true}"), []string{`5:31: the unknown key "aes", did you mean aes256?`}},
		{"a list as key", top("[a]: 1\n"), []string{"2:4: a key that is not plain text, write key: value"}},

		// types
		{"text for a mapping", top("log: info\n"), []string{`2:6: log: "info", write a mapping (key: value, or {key: value})`}},
		{"a list for a mapping", top("log: [info]\n"), []string{"2:1: log: a list, write a mapping (key: value, or {key: value})"}},
		{"nothing for a mapping", top("log:\n"), []string{"2:1: log: nothing, write a value or leave the key out: it takes a mapping (key: value, or {key: value})"}},
		{"null for a value", top("memory: ~\n"), []string{"2:1: memory: nothing, write a value or leave the key out: it takes a size such as 10MiB"}},
		{"a text for a bool", top("shutdown: {drain: yes}\n"), []string{`2:19: drain: "yes", write true or false`}},
		{"a quoted bool", top("shutdown: {drain: \"true\"}\n"), []string{`2:19: drain: "true", write true or false`}},
		{"a text for a number", pipeline("buffer: {shards: two}"), []string{`4:22: shards: "two", write a whole number`}},
		{"a fraction for a number", pipeline("buffer: {shards: 1.5}"), []string{"4:22: shards: 1.5, write a whole number"}},
		{"a number too large", pipeline("buffer: {shards: 99999999999999999999}"), []string{"4:22: shards: \"99999999999999999999\", write a whole number"}},
		{"a sign where none can be", s3("bucket: b, retries: -1"), []string{"5:34: retries: -1, write a whole number without a sign"}},
		{"a number too large for 8 bits", s3("bucket: b, retries: 256"), []string{"5:34: retries: 256, write a whole number without a sign"}},
		{"not a number", s3("bucket: b, ratio: .nan"), []string{"5:32: ratio: .nan, write a number"}},
		{"infinity", s3("bucket: b, ratio: .inf"), []string{"5:32: ratio: .inf, write a number"}},
		{"a number for a text", s3("bucket: 42"), []string{`5:22: bucket: 42, put it in quotes if it is meant as text: "42"`}},
		{"a bool for a text", s3("bucket: true"), []string{`5:22: bucket: true, put it in quotes if it is meant as text: "true"`}},
		{"a mapping for a text", s3("bucket: {name: b}"), []string{"5:14: bucket: a mapping, write a text"}},
		{"a number among tags", s3("bucket: b, tags: {a: 1}"), []string{`5:35: a: 1, put it in quotes if it is meant as text: "1"`}},
		{"a text for tags", s3("bucket: b, tags: a"), []string{`5:31: tags: "a", write a mapping of texts ({name: value})`}},
		{"a text for a list", s3("bucket: b, hosts: a"), []string{`5:32: hosts: "a", write a list ([value, value])`}},
		{"a number in a list", s3("bucket: b, hosts: [a, 1]"), []string{`5:36: hosts: 1, put it in quotes if it is meant as text: "1"`}},
		{"nothing in a list", s3("bucket: b, hosts: [a, ~]"), []string{"5:36: hosts: nothing, write a value or leave the key out: it takes a text"}},
		{"an empty path", top("data_dir: \"\"\n"), []string{"2:11: data_dir: an empty path, write a path or leave the key out"}},
		{"a home folder", top("data_dir: ~/data\n"), []string{"2:11: data_dir: a path that starts with ~, which only a shell knows, write the whole path or ${HOME}/…"}},

		// units
		{"a size without a unit", pipeline("buffer: {max_bytes: 10}"), []string{"4:25: max_bytes: a number without a unit, write 10GiB or 10MiB"}},
		{"a size of 0", pipeline("buffer: {max_bytes: 0}"), []string{"4:25: max_bytes: a number without a unit, write 0GiB or 0MiB"}},
		{"a quoted size without a unit", pipeline("buffer: {max_bytes: '10'}"), []string{"4:25: max_bytes: a number without a unit, write 10GiB or 10MiB"}},
		{"a duration without a unit", pipeline("batch: {interval: 60}"), []string{"4:23: interval: a number without a unit, write 60s or 60m"}},
		{"a duration of 0", pipeline("batch: {interval: 0}"), []string{"4:23: interval: a number without a unit, write 0s"}},
		{"a negative duration", pipeline("buffer: {retention: -1h}"), []string{"4:25: retention: a negative duration, write it as 60s or 5m"}},
		{"a wrong unit", top("memory: 1Gb\n"), []string{`2:9: memory: the unknown unit "Gb", write 1GiB (powers of 1024) or 1GB (powers of 1000)`}},
		{"a bool for a size", top("memory: true\n"), []string{`2:9: memory: "true", which is no size, write it as 10GiB or 10MiB`}},

		// the environment
		{"an unset variable", top("data_dir: ${NOWHERE}/x\n"), []string{"2:11: ${NOWHERE}, which is not set, set it in the environment, or write ${NOWHERE:-default}"}},
		{"two unset variables", top("data_dir: ${A}${B}\n"), []string{
			"2:11: ${A}, which is not set, set it in the environment, or write ${A:-default}", "2:11: ${B}, which is not set, set it in the environment, or write ${B:-default}"}},
		{"an unclosed variable", top("data_dir: ${A\n"), []string{"2:11: ${ without }, write ${NAME} or ${NAME:-default}, and $${ for the characters themselves"}},
		{"no name", top("data_dir: ${}\n"), []string{"2:11: ${…} without the name of a variable, write ${NAME} or ${NAME:-default}, and $${ for the characters themselves"}},
		{"a wrong name", top("data_dir: ${1A}\n"), []string{"2:11: ${…} without the name of a variable, write ${NAME} or ${NAME:-default}, and $${ for the characters themselves"}},
		{"a default without colon", top("data_dir: ${A-b}\n"), []string{"2:11: ${…} without the name of a variable, write ${NAME} or ${NAME:-default}, and $${ for the characters themselves"}},
		{"a default in a default", top("data_dir: ${A:-${B}}\n"), []string{"2:11: ${A:-…} with another ${ in its default, write the default itself"}},
		{"unquoted inside braces", top("shutdown: {grace: ${GRACE}}\n"), []string{`2:19: ${…} without quotes inside { } or [ ], write "${…}" in double quotes`}},
		{"a variable of the wrong type", top("memory: ${TEN}\n"), []string{`2:9: memory: "${TEN}", which is not a size such as 10MiB, set it to something like 10MiB`}},
		{"an empty variable", top("memory: ${EMPTY}\n"), []string{`2:9: memory: "${EMPTY}", which is not a size such as 10MiB, set it to something like 10MiB`}},
		{"a variable for a bool", top("shutdown: {drain: \"${N}\"}\n"), []string{`2:19: drain: "${N}", write true or false`}},
		{"a variable for an enum", top("log: {level: \"${NOISE}\"}\n"), []string{`2:14: level: "${NOISE}", one of debug, info, warn, error`}},

		// secrets
		{"a secret file that is not there", source("http: {listen: 127.0.0.1:80, token: 'file:/no/such'}"), []string{"4:45: token: the secret file /no/such does not exist, create it or name another"}},
		{"the path comes from a variable", source("http: {listen: 127.0.0.1:80, token: 'file:${ROOT}/t'}"), []string{"4:45: token: the secret file /srv/t does not exist, create it or name another"}},
		{"a variable that looks like a path", source("http: {listen: 127.0.0.1:80, token: '${FILE}'}"), []string{"4:45: token: the secret file ${FILE} does not exist, create it or name another"}},
		{"an empty secret file", source("http: {listen: 127.0.0.1:80, token: 'file:/run/secrets/empty'}"), []string{"4:45: token: the secret file /run/secrets/empty is empty, write the secret into it"}},
		{"a large secret file", source("http: {listen: 127.0.0.1:80, token: 'file:/run/secrets/large'}"),
			[]string{"4:45: token: the secret file /run/secrets/large holds more than 64KiB, name a file that holds the secret alone"}},
		{"a folder for a secret", source("http: {listen: 127.0.0.1:80, token: 'file:/run/secrets'}"), []string{"4:45: token: /run/secrets is not a file, name a file that holds the secret alone"}},
		{"file: alone", source("http: {listen: 127.0.0.1:80, token: 'file:'}"), []string{"4:45: token: file: without a path, write file:PATH"}},
		{"an empty secret", source("http: {listen: 127.0.0.1:80, token: ''}"), []string{"4:45: token: an empty secret, write it, or file:PATH, or leave the key out"}},
		{"a number for a secret", source("http: {listen: 127.0.0.1:80, token: 12345678}"), []string{"4:45: token: a number or true or false, put it in quotes"}},
		{"a list for a secret", source("http: {listen: 127.0.0.1:80, token: [hunter2]}"), []string{"4:38: token: a list, write a secret in quotes, or file:PATH"}},

		// rules of the file
		{"little memory", top("memory: 63MiB\n"), []string{"2:9: memory: 63MiB, at least 64MiB"}},
		{"an unknown level", top("log: {level: warning}\n"), []string{`2:14: level: "warning", did you mean warn?`}},
		{"an unknown format", top("log: {format: xml}\n"), []string{`2:15: format: "xml", one of text, json`}},
		{"a short grace", top("shutdown: {grace: 999ms}\n"), []string{"2:19: grace: 999ms, at least 1s"}},
		{"no port", top("admin: {listen: localhost}\n"), []string{"2:17: listen: an address that is not HOST:PORT, write it as 127.0.0.1:9640"}},
		{"a port too high", top("admin: {listen: \"127.0.0.1:65536\"}\n"), []string{"2:17: listen: an address that is not HOST:PORT, write it as 127.0.0.1:9640"}},
		{"an empty address", top("admin: {listen: \"\"}\n"), []string{"2:17: listen: an address that is not HOST:PORT, write it as 127.0.0.1:9640"}},
		{"a public status page", top("admin: {listen: 0.0.0.0:9640}\n"),
			[]string{"2:17: warning: listen: a status page that other machines can reach, and nobody is asked for a password, 127.0.0.1:PORT keeps it to this one"}},

		// pipelines
		{"no pipelines", "log: {}\n", []string{"1:1: pipelines: nothing, write at least one, with sources and destinations"}},
		{"empty pipelines", "log: {}\npipelines: {}\n", []string{"2:1: pipelines: nothing, write at least one, with sources and destinations"}},
		{"null pipelines", "log: {}\npipelines:\n", []string{"2:1: pipelines: nothing, write at least one, with sources and destinations"}},
		{"a list of pipelines", "pipelines:\n  - name: a\n", []string{"1:1: pipelines: a list, write NAME: {sources: …, destinations: …}"}},
		{"an empty pipeline", "pipelines:\n  a:\n", []string{"2:3: a: nothing, write a value or leave the key out: it takes a mapping (key: value, or {key: value})"}},
		{"a pipeline without anything", "pipelines:\n  a: {}\n",
			[]string{"2:3: sources: nothing, write a list with at least one, such as - stdin: {}", "2:3: destinations: nothing, write a list with at least one, such as - file: {path: ./out}"}},
		{"a wrong name", strings.Replace(least, "logs", "app logs", 1), []string{`1:13: pipeline name "app logs", write 1 to 64 of A–Z a–z 0–9 _ . -, not . or ..`}},
		{"the name ..", strings.Replace(least, "logs", "..", 1), []string{`1:13: pipeline name "..", write 1 to 64 of A–Z a–z 0–9 _ . -, not . or ..`}},
		{"a long name", strings.Replace(least, "logs", strings.Repeat("n", 65), 1),
			[]string{`1:13: pipeline name "` + strings.Repeat("n", 60) + `…", write 1 to 64 of A–Z a–z 0–9 _ . -, not . or ..`}},
		{"names that differ in case", "pipelines:\n  Logs: {sources: [stdin: {}], destinations: [file: {path: o}]}\n  logs: {sources: [http: {listen: localhost:1}], destinations: [file: {path: o}]}\n",
			[]string{"3:3: pipeline names Logs and logs that differ only in case, names that differ on every disk"}},
		{"no shards", pipeline("buffer: {shards: 0}"), []string{"4:22: shards: 0, from 1 to 500"}},
		{"many shards", pipeline("buffer: {shards: 501}"), []string{"4:22: shards: 501, from 1 to 500"}},
		{"a small buffer", pipeline("buffer: {max_bytes: 1MiB}"), []string{"4:25: max_bytes: 1MiB, at least 16MiB"}},
		{"a buffer smaller than four batches", pipeline("buffer: {max_bytes: 16MiB}"),
			[]string{"4:25: max_bytes: max_bytes of 16MiB with batches of 5MiB (file), at least 4 times the largest batch, 20MiB"}},
		{"batches larger than a quarter of the default", pipeline("batch: {size: 4GiB}"), []string{"2:3: buffer: max_bytes of 10GiB with batches of 4GiB (file), at least 4 times the largest batch, 16GiB"}},
		{"a small batch", pipeline("batch: {size: 512KiB}"), []string{"4:19: size: 512KiB, from 1MiB to 5GiB"}},
		{"a large batch", pipeline("batch: {size: 6GiB}"), []string{"4:19: size: 6GiB, from 1MiB to 5GiB"}},
		{"a long interval", pipeline("batch: {interval: 16m}"), []string{"4:23: interval: 16m, from 0s to 15m"}},

		// sources
		{"no list of sources", strings.Replace(least, "[{stdin: {}}]", "{stdin: {}}", 1), []string{"1:20: sources: a mapping, write a list with at least one, such as - stdin: {}"}},
		{"an empty list of sources", strings.Replace(least, "[{stdin: {}}]", "[]", 1), []string{"1:20: sources: nothing, write a list with at least one, such as - stdin: {}"}},
		{"a source without a mapping", source("stdin"), []string{`4:9: an item of sources that is "stdin", write one kind with its settings, such as - stdin: {}`}},
		{"an empty source", source("{}"), []string{"4:9: an item of sources that is empty, write one kind with its settings, such as - stdin: {}"}},
		{"a kind without settings", source("stdin:"), []string{"4:9: stdin: nothing, indent its settings below it, or write stdin: {} to take all defaults"}},
		{"settings that are not indented", source("http:\n        path: /a"), []string{
			"4:9: http: nothing, indent its settings below it, or write http: {} to take all defaults", `5:9: the unknown key "path", one of http, stdin`}},
		{"an unknown source", source("sdtin: {}"), []string{`4:9: the unknown key "sdtin", did you mean stdin?`}},
		{"an unknown source, like none", source("kafka: {}"), []string{`4:9: the unknown key "kafka", one of http, stdin`}},
		{"two kinds in one source", source("{stdin: {}, http: {listen: localhost:1}}"), []string{"4:21: a second kind in one source, http beside stdin, write an item of its own for each"}},
		{"stdin twice", source("stdin: {}\n      - stdin: {}"), []string{"5:9: stdin a second time, one pipeline reads it"}},
		{"a check of a section", source("http: {listen: 0.0.0.0:80}"), []string{"4:24: listen: 0.0.0.0:80 without a token, write a token"}},
		{"a check of a missing key", source("http: {path: /}"), []string{`4:9: listen: "", write HOST:PORT`}},
		{"an address and path twice", source("http: {listen: localhost:1, path: /a}\n      - http: {listen: localhost:1, path: /b}\n      - http: {listen: localhost:1, path: /a}"),
			[]string{"6:9: http: the same address and path again (line 4), another path or port"}},
		{"different TLS on one address", source("http: {listen: localhost:1, path: /a}\n      - http: {listen: localhost:1, path: /b, tls: {cert_file: c, key_file: k}}"),
			[]string{"5:9: http: TLS settings that differ from those of the same address (line 4), the same settings, or another port"}},
		{"one port on all and on one", source("http: {listen: localhost:1, path: /a}\n      - http: {listen: \":1\", path: /b, token: t}"),
			[]string{"5:9: http: the port 1 on all addresses and on one of them (line 4), write the same address, or another port"}},
		{"the admin's address", "admin: {listen: localhost:1}\n" + source("http: {listen: localhost:1, path: /a}"), []string{"5:9: http: the address of the admin page (line 1), another port"}},

		// destinations
		{"an unknown destination", destination("fiel: {path: x}"), []string{`5:9: the unknown key "fiel", did you mean file?`}},
		{"a destination without a kind", destination("name: x"), []string{"5:9: a destination without a kind, one of file, s3"}},
		{"two kinds in one error output", pipeline("error_output: {file: {path: x}, s3: {bucket: b}}"), []string{"4:37: a second kind in one error_output, s3 beside file, keep one of them"}},
		{"two kinds in one destination", destination("file: {path: x}\n        s3: {bucket: b}"), []string{"6:9: a second kind in one destination, s3 beside file, write an item of its own for each"}},
		{"a kind twice without names", destination("file: {path: x}\n      - file: {path: y}"), []string{"6:9: a second destination named file, give it a name: of its own"}},
		{"a name twice", destination("{name: a, file: {path: x}}\n      - {name: a, s3: {bucket: y}}"), []string{"6:16: a second destination named a, give it a name of its own"}},
		{"a name that is another's kind", destination("{name: s3, file: {path: x}}\n      - s3: {bucket: y}"), []string{"6:9: a second destination named s3, give it a name: of its own"}},
		{"destination names that differ in case", destination("{name: a, file: {path: x}}\n      - {name: A, s3: {bucket: y}}"),
			[]string{"6:16: destination names a and A that differ only in case, names that differ on every disk"}},
		{"a name with a slash", destination("{name: a/b, file: {path: x}}"), []string{`5:16: destination name "a/b", write 1 to 64 of A–Z a–z 0–9 _ . -, not . or ..`}},
		{"a numeric name", destination("{name: 1, file: {path: x}}"), []string{`5:16: name: 1, put it in quotes if it is meant as text: "1"`}},
		{"no concurrency", destination("{file: {path: x}, concurrency: 0}"), []string{"5:40: concurrency: 0, from 1 to 64"}},
		{"much concurrency", destination("{file: {path: x}, concurrency: 65}"), []string{"5:40: concurrency: 65, from 1 to 64"}},
		{"a small batch of its own", destination("{file: {path: x}, batch: {size: 1kB}}"), []string{"5:41: size: 1kB, from 1MiB to 5GiB"}},
		{"a long interval of its own", destination("{file: {path: x}, batch: {interval: 1h}}"), []string{"5:45: interval: 1h, from 0s to 15m"}},
		{"checks of two keys", s3("sse: {aes256: true, kms_key_id: k}"), []string{"5:9: bucket: nothing, write the bucket's name", "5:28: aes256: true beside kms_key_id, one of them"}},
		{"a week-year", s3("bucket: b, prefix: 'YYYY/'"), []string{"5:33: warning: prefix: YYYY, the week-year, yyyy"}},
		{"an unknown codec", s3("bucket: b, compression: gzp"), []string{`5:38: compression: "gzp", did you mean gzip?`}},

		// giving up
		{"giving up without an error output", pipeline("retry: {give_up_after: 1h}"), []string{"4:28: give_up_after: a duration without an error_output, write an error_output, or never"}},
		{"giving up at once", pipeline("retry: {give_up_after: 0s}\n    error_output: {s3: {bucket: e}}"), []string{`4:28: give_up_after: "0s", at least 1s, or never`}},
		{"giving up after a word", pipeline("retry: {give_up_after: soon}\n    error_output: {s3: {bucket: e}}"),
			[]string{`4:28: give_up_after: "soon", which is no duration, write it as 60s, 5m or 1h30m`}},
		{"giving up into the failing sink", pipeline("retry: {give_up_after: 1h}\n    error_output: {file: {path: ./out, prefix: e/}}"),
			[]string{"5:5: error_output: the failing sink itself, while give_up_after is 1h, write another folder, bucket or kind, or give_up_after: never"}},
		{"one's own error output is the failing sink", destination("{file: {path: x}, retry: {give_up_after: 2s}, error_output: {file: {path: ./x}}}"),
			[]string{"5:55: error_output: the failing sink itself, while give_up_after is 2s, write another folder, bucket or kind, or give_up_after: never"}},
		{"an empty error output", pipeline("error_output: {}"), []string{"4:5: error_output: empty, write it as {file: {path: ./errors}}"}},
		{"a folder for an error output", pipeline("error_output: ./errors"), []string{`4:19: error_output: "./errors", write it as {file: {path: ./errors}}`}},
		{"an error output of another kind", pipeline("error_output: {stdin: {}}"), []string{`4:20: the unknown key "stdin", one of file, s3`}},
		{"an error output that is wrong", pipeline("error_output: {file: {}}"), []string{"4:20: path: nothing, write the folder"}},

		// all at once
		{"many mistakes", "memory: 1\nlog: {level: loud}\npipelines:\n  a:\n    buffer: {shards: 0, max_bytes: x}" +
			"\n    sources: [http: {listen: x}]\n    destinations:\n      - s3: {}\n        concurrency: no\n",
			[]string{
				"1:9: memory: a number without a unit, write 1GiB or 1MiB",
				`2:14: level: "loud", one of debug, info, warn, error`,
				"5:22: shards: 0, from 1 to 500",
				`5:36: max_bytes: "x", which is no size, write it as 10GiB or 10MiB`,
				`6:30: listen: "x", write HOST:PORT`,
				"8:9: bucket: nothing, write the bucket's name",
				`9:22: concurrency: "no", write a whole number`,
			}},
	} {
		t.Run(c.what, func(t *testing.T) {
			cfg, problems := parseTest(c.text)
			var got []string
			for _, p := range problems {
				got = append(got, strings.TrimPrefix(p.String(), "/etc/hydrant/hydrant.yaml:"))
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n  %s\nwant\n  %s\nin\n%s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "), c.text)
			}
			if (cfg == nil) != Failed(problems) {
				t.Errorf("a configuration: %v, but failed: %v", cfg != nil, Failed(problems))
			}
		})
	}
}
