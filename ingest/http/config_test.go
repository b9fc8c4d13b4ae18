package http

import (
	"strings"
	"testing"

	"github.com/hydrantd/hydrant/config"
)

func TestSettings(t *testing.T) {
	env := func(string) (string, bool) { return "", false }
	kinds := config.Kinds{
		Sources: map[string]func() any{"http": Kind.Config},
		Sinks:   map[string]func() any{"null": func() any { return &struct{}{} }},
	}
	for section, want := range map[string]string{
		"{listen: 127.0.0.1:8080}":                                         "",
		"{listen: 127.0.0.1:8080, path: /logs, max_body: 31MiB}":           "",
		"{listen: \"[::1]:8080\"}":                                         "",
		"{listen: localhost:8080}":                                         "",
		"{listen: \":8080\", token: x}":                                    "",
		"{listen: 0.0.0.0:8080, tls: {cert_file: c.pem, key_file: k.pem}}": "",
		"{}":                                                                         "listen: nothing",
		"{listen: a8080}":                                                            "not HOST:PORT",
		"{listen: 127.0.0.1:70000}":                                                  "not HOST:PORT",
		"{listen: \":8080\"}":                                                        "other machines can reach",
		"{listen: 192.168.0.1:8080}":                                                 "other machines can reach",
		"{listen: logs.example.com:8080}":                                            "other machines can reach",
		"{listen: 127.0.0.1:8080, path: logs}":                                       `path: "logs"`,
		"{listen: 127.0.0.1:8080, path: /logs/}":                                     `path: "/logs/"`,
		"{listen: 127.0.0.1:8080, path: /a/../b}":                                    `path: "/a/../b"`,
		"{listen: 127.0.0.1:8080, max_body: 32MiB}":                                  "max_body: 32MiB",
		"{listen: 127.0.0.1:8080, max_body: 0B}":                                     "max_body: 0B",
		"{listen: 127.0.0.1:8080, token: \"\"}":                                      "an empty secret",
		"{listen: 127.0.0.1:8080, tls: {cert_file: c.pem}}":                          "both cert_file and key_file",
		"{listen: 127.0.0.1:8080, tls: {certfile: c.pem}}":                           "cert_file",
		"{listen: 127.0.0.1:8080}\n      - http: {listen: 127.0.0.1:8080}":           "the same address and path",
		"{listen: 127.0.0.1:8080}\n      - http: {listen: 127.0.0.1:8080, path: /b}": "",
	} {
		text := "pipelines:\n  p:\n    sources:\n      - http: " + section + "\n    destinations: [{null: {}}]\n"
		_, problems := config.Parse("hydrant.yaml", []byte(text), env, kinds)
		var said []string
		for _, p := range problems {
			said = append(said, p.String())
		}
		all := strings.Join(said, "\n")
		if want == "" && all != "" || !strings.Contains(all, want) {
			t.Errorf("%s: %q, want %q", section, all, want)
		}
	}
}
