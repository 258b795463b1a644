package main

// What no plugin should do.

// sink keeps the compiler from leaving out what nobody looks at.
var sink byte

func spin() {
	for {
		sink++
	}
}

func recurse(depth uint64) uint64 {
	var frame [16]uint64
	for i := range frame {
		frame[i] = depth
	}
	return recurse(depth+1) + frame[depth%16]
}

func hoard(mib int) any {
	hoarded := make([][]byte, mib)
	for i := range hoarded {
		hoarded[i] = make([]byte, 1<<20)
		for page := 0; page < 1<<20; page += 4096 {
			hoarded[i][page] = 1
		}
	}
	for _, block := range hoarded {
		sink += block[0]
	}
	return object{"mib": len(hoarded)}
}
