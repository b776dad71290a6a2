package ftp

import (
	"io"
	"strings"
	"testing"
)

func TestTransfers(t *testing.T) {
	h := newHouse(t)
	b := start(t, nil, h.login)
	c := b.login(t)
	c.want("CWD /c", 250)
	big := strings.Repeat("0123456789abcdef", 100_000)
	for name, content := range map[string]string{"empty": "", "one": "1", "big": big, "ünïcode ☃": "snow", `quo"ted`: "q"} {
		c.put("STOR "+name, content, 226)
		if got := c.get("RETR "+name, 226); got != content {
			t.Errorf("RETR %s = %s, want %s", name, brief(got), brief(content))
		}
		wantFile(t, h.session(), "/c/"+name, content)
	}
	c.put("APPE one", "2", 226)
	if got := c.get("RETR one", 226); got != "12" {
		t.Errorf("after APPE: %q", got)
	}
	c.want("REST 15", 350)
	if got := c.get("RETR big", 226); got != big[15:] {
		t.Errorf("RETR after REST = %s", brief(got))
	}
	c.want("SIZE big", 213)
	c.want("REST 99999999", 350)
	c.data()
	c.want("RETR big", 554)
	c.data()
	c.want("RETR nothing", 550)
	c.want("RETR big", 425)
	c.want("QUIT", 221)
	c.ended()
}

func TestAbort(t *testing.T) {
	h := newHouse(t)
	b := start(t, nil, h.login)
	c := b.login(t)
	d := c.data()
	c.want("STOR /c/f", 150)
	io.WriteString(d, "half")
	c.wantMoved(4)
	c.want("NOOP", 200)
	c.send("\xff\xf4\xff\xf2ABOR")
	c.want("", 426)
	c.want("", 226)
	if got := c.want("SIZE /c/f", 213); got != "4" {
		t.Errorf("SIZE of what was kept = %s", got)
	}
	c.want("REST 4", 350)
	c.put("STOR /c/f", " whole", 226)
	wantFile(t, h.session(), "/c/f", "half whole")
	c.want("ABOR", 226)
}
