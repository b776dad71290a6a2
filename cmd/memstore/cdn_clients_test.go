package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ncw/swift/v2"
	"github.com/ncw/swift/v2/rs"
)

// The client library of rclone speaks the API of Cloud Files, found through
// either login (of Keystone v3 it does not know where to look).
func TestCDNClientRS(t *testing.T) {
	n := testCDN(t, nil)
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	for name, login := range map[string]struct {
		url     string
		version int
	}{"v1": {"/auth/v1.0", 1}, "v2": {"/v2.0", 2}} {
		t.Run(name, func(t *testing.T) {
			user, tenant := n.user, ""
			if login.version > 1 {
				tenant, user, _ = strings.Cut(n.user, ":")
			}
			c := &rs.RsConnection{Connection: swift.Connection{
				UserName: user, Tenant: tenant, Domain: "default", TenantDomain: "default", ApiKey: n.password, AuthUrl: n.gatewayURL + login.url, AuthVersion: login.version,
			}}
			ctx := t.Context()
			if err := c.Authenticate(ctx); err != nil {
				t.Fatal(err)
			}
			box := "box-" + name
			if err := c.ContainerCreate(ctx, box, nil); err != nil {
				t.Fatal(err)
			}
			h, err := c.ContainerCDNEnable(ctx, box, 1000)
			if err != nil || !strings.HasPrefix(h["X-Cdn-Uri"], "http://"+box+".") {
				t.Fatalf("ContainerCDNEnable = %v, %v", h, err)
			}
			meta, err := c.ContainerCDNMeta(ctx, box)
			if err != nil || meta["X-Ttl"] != "1000" || meta["X-Cdn-Enabled"] != "True" || meta["X-Cdn-Uri"] != h["X-Cdn-Uri"] {
				t.Errorf("ContainerCDNMeta = %v, %v", meta, err)
			}
			if err := c.ObjectPutString(ctx, box, "a", "hello", ""); err != nil {
				t.Fatal(err)
			}
			host := strings.TrimPrefix(h["X-Cdn-Uri"], "http://")
			if status, text := ask(t, "GET", n.cdn.url+"/a", "", "Host: "+host); status != 200 || text != "hello" {
				t.Errorf("a browser gets %d %q at %s", status, text, host)
			}
			if err := c.ContainerCDNDisable(ctx, box); err != nil {
				t.Fatal(err)
			}
			if status, _ := ask(t, "GET", n.cdn.url+"/a", "", "Host: "+host); status != 404 {
				t.Errorf("a browser gets %d when it is disabled", status)
			}
		})
	}
}

// libcloud drives the API from Python, that of Debian, for which it is packaged.
func TestCDNClientLibcloud(t *testing.T) {
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import libcloud").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3-libcloud is not installed; run .ci/setup")
		}
		t.Skip("SKIPPED: python3-libcloud is not installed; run .ci/setup")
	}
	n := testCDN(t, nil)
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.CommandContext(t.Context(), python, "testdata/libcloud_cdn.py", n.gatewayURL, n.user, n.password, n.cdn.url)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
