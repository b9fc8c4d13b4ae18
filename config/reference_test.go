package config

import (
	"strings"
	"testing"
)

func TestEveryKeyHasADoc(t *testing.T) {
	keys := 0
	for _, s := range Sections(standIns()) {
		for _, k := range s.Keys {
			keys++
			if k.Doc == "" || k.Type == "" || k.Default == "" {
				t.Errorf("%s: %+v", s.Title, k)
			}
		}
	}
	same(t, "keys", keys > 50, true)
}

func TestReference(t *testing.T) {
	text := Reference(standIns())
	for _, want := range []string{
		"### The file\n\n| key | type | default | |\n|---|---|---|---|\n| `data_dir` | path | $STATE_DIRECTORY, else /var/lib/hydrant | The log,",
		"| `shutdown.grace` | duration | `25s` |",
		"| `shutdown.drain` | bool | `true` |",
		"### pipelines.NAME\n",
		"| `buffer.max_bytes` | size | `10GiB` |",
		"| `retry.give_up_after` | never or duration | `never` |",
		"| `batch.size` | size | the pipeline's |",
		"| `concurrency` | number | `4` |",
		"### Source http\n",
		"| `token` | secret | – | Bearer token. |",
		"| `tls.cert_file` | path | – | Certificate. |",
		"### Destination s3\n",
		"| `delimiter` | text | `\"\\n\"` |",
		"| `sse.aes256` | bool | `false` |",
		"| `path_style` | bool | – |",
		"| `hosts` | list of text | – |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
