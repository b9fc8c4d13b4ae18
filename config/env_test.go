package config

import (
	"strings"
	"testing"
	"time"
)

func TestSubstitution(t *testing.T) {
	for _, c := range []struct{ written, want string }{
		{`plain`, "plain"},
		{`"${SIZE}"`, "8MiB"},
		{`${SIZE}`, "8MiB"},
		{`'${SIZE}'`, "8MiB"},
		{`a-${SIZE}-b${TEN}`, "a-8MiB-b10"},
		{`${EMPTY}`, ""},
		{`${EMPTY:-filled}`, "filled"},
		{`${NOWHERE:-default}`, "default"},
		{`${NOWHERE:-}`, ""},
		{`${NOWHERE:-a:-b}`, "a:-b"},
		{`${NOWHERE:-a$$b}`, "a$b"},
		{`${SIZE:-unused}`, "8MiB"},
		{`$$`, "$"},
		{`$${SIZE}`, "${SIZE}"},
		{`$$$${SIZE}`, "$${SIZE}"},
		{`$$${SIZE}`, "$8MiB"},
		{`cost $5`, "cost $5"},
		{`$SIZE`, "$SIZE"},
		{`end$`, "end$"},
		{`${TEN}`, "10"},
		{`${YES}`, "true"},
		{`${INJECT}`, "x}\n- evil: {"},
		{`"!{timestamp:yyyy}/${TEN}"`, "!{timestamp:yyyy}/10"},
		{`x # ${NOWHERE} in a comment`, "x"},
		{"|\n            ${SIZE}\n            # ${TEN}", "8MiB\n# 10\n"},
	} {
		text := strings.Replace(destination("s3:\n          bucket: b\n          region: WRITTEN"), "WRITTEN", c.written, 1)
		cfg, problems := parseTest(text)
		if Failed(problems) {
			t.Errorf("%s: %v", c.written, problems)
			continue
		}
		same(t, c.written, cfg.Pipelines[0].Destinations[0].Sink.Value.(*s3Section).Region, c.want)
	}
}

func TestASubstitutedValueIsTypedByItsPlace(t *testing.T) {
	cfg, problems := parseTest(`
# ${NOWHERE}
data_dir: ${ROOT}/data
memory: ${NOWHERE:-1GiB} # ${NOWHERE}
shutdown: {grace: "${TEN}s", drain: "${YES}"}
pipelines:
  a:
    sources: [http: {listen: "localhost:${TEN}", token: "${TOKEN}"}]
    buffer: {shards: "${N}"}
    batch: {size: "${SIZE}"}
    retry: {give_up_after: "${NOWHERE:-never}"}
    destinations: [s3: {bucket: "${TEN}", ratio: "${TEN}", path_style: "${YES}", hosts: ["${TEN}"], tags: {a: "${N}"}, auth: {secret_access_key: "${TEN}"}}]
`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	p := cfg.Pipelines[0]
	s3 := p.Destinations[0].Sink.Value.(*s3Section)
	same(t, "path", cfg.DataDir, "/srv/data")
	same(t, "size", cfg.Memory, 1<<30)
	same(t, "duration", cfg.Shutdown, Shutdown{10 * time.Second, true})
	same(t, "number", p.Buffer.Shards, 7)
	same(t, "size in a struct", p.Destinations[0].Batch.Size, 8<<20)
	same(t, "text", s3.Bucket, "10")
	same(t, "fraction", s3.Ratio, 10)
	same(t, "pointer", *s3.PathStyle, true)
	same(t, "list", s3.Hosts[0], "10")
	same(t, "map", s3.Tags["a"], "7")
	same(t, "secret", s3.Auth.SecretAccessKey.Value(), "10")
	same(t, "token", p.Sources[0].Value.(*httpSection).Token.Value(), "tok3n-from-env")
}
