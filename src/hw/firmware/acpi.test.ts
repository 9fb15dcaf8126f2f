import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ACPI, IO_APIC, MMIO } from '../board/memory-map.ts';
import { memoryView, testMemory } from '../testing/kernels.ts';
import { acpiTables, ownAcpiTable, putAcpiTables } from './acpi.ts';

const OPTIONS = { cpuCount: 2, keyboardController: true };

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => total + byte, 0) & 0xff;
}

/** The tables that the XSDT lists and the FADT points to, found as a guest finds them. */
function walk() {
  const memory = testMemory(16 * 1024 * 1024);
  const rsdpAt = putAcpiTables(memory, OPTIONS);
  const rsdp = memoryView(memory, rsdpAt, 36);
  const read = (base: number) => {
    const length = memoryView(memory, base, 8).getUint32(4, true);
    const view = memoryView(memory, base, length);
    const bytes = new Uint8Array(view.buffer, view.byteOffset, length);
    return { signature: String.fromCharCode(...bytes.subarray(0, 4)), base, view, bytes };
  };
  const xsdt = read(Number(rsdp.getBigUint64(24, true)));
  const listed = Array.from({ length: (xsdt.bytes.length - 36) / 8 }, (_, index) =>
    read(Number(xsdt.view.getBigUint64(36 + index * 8, true))),
  );
  const fadt = listed.find(({ signature }) => signature === 'FACP');
  assert.ok(fadt !== undefined);
  const dsdt = read(Number(fadt.view.getBigUint64(140, true)));
  const facs = read(fadt.view.getUint32(36, true));
  return { memory, rsdpAt, rsdp, xsdt, listed, fadt, dsdt, facs };
}

test('the RSDP lies where a scan for it looks, with both checksums right (ACPI 6.4, 5.2.5)', () => {
  const { rsdpAt, rsdp } = walk();
  assert.ok(rsdpAt >= 0xe_0000 && rsdpAt < 0x10_0000 && rsdpAt % 16 === 0);
  const bytes = new Uint8Array(rsdp.buffer, rsdp.byteOffset, 36);
  assert.equal(String.fromCharCode(...bytes.subarray(0, 8)), 'RSD PTR ');
  assert.equal(sum(bytes.subarray(0, 20)), 0);
  assert.equal(sum(bytes), 0);
});

test('every table is listed, its checksum is right, and the RSDT lists the same', () => {
  const { rsdp, xsdt, listed, dsdt, facs, memory } = walk();
  assert.deepEqual(
    listed.map(({ signature }) => signature),
    ['FACP', 'APIC', 'MCFG'],
  );
  for (const table of [xsdt, dsdt, ...listed]) assert.equal(sum(table.bytes), 0, table.signature);
  assert.equal(dsdt.signature, 'DSDT');
  assert.equal(facs.signature, 'FACS');
  assert.equal(facs.base % 64, 0);
  const rsdt = memoryView(memory, rsdp.getUint32(16, true) + 36, listed.length * 4);
  for (const [index, { base }] of listed.entries()) assert.equal(rsdt.getUint32(index * 4, true), base);
});

test('the FADT tells the board’s power management registers and reset register', () => {
  const { view } = walk().fadt;
  assert.equal(view.getUint16(46, true), 9, 'SCI_INT');
  assert.equal(view.getUint32(56, true), ACPI.pm1aEventBlock.base);
  assert.equal(view.getUint32(64, true), ACPI.pm1aControlBlock.base);
  assert.equal(view.getUint32(76, true), ACPI.pmTimerBlock.base);
  assert.deepEqual([view.getUint8(116), view.getBigUint64(120, true)], [1, BigInt(ACPI.resetPort)]);
  assert.equal(view.getUint8(128), ACPI.resetValue);
  const flags = view.getUint32(112, true);
  assert.equal(flags & (1 << 10), 1 << 10, 'RESET_REG_SUP');
  assert.equal(flags & (1 << 20), 0, 'not hardware-reduced');
  assert.equal(view.getBigUint64(148 + 4, true), BigInt(ACPI.pm1aEventBlock.base), 'X_PM1a_EVT_BLK');
  assert.equal(view.getBigUint64(172 + 4, true), BigInt(ACPI.pm1aControlBlock.base), 'X_PM1a_CNT_BLK');
  assert.equal(view.getBigUint64(208 + 4, true), BigInt(ACPI.pmTimerBlock.base), 'X_PM_TMR_BLK');
});

test('the MADT lists processors, the IOAPIC, the overrides and the NMI line', () => {
  const madt = walk().listed.find(({ signature }) => signature === 'APIC');
  assert.ok(madt !== undefined);
  assert.equal(madt.view.getUint32(36, true), MMIO.localApic.base);
  const entries: { type: number; at: number }[] = [];
  for (let at = 44; at < madt.bytes.length; at += madt.bytes[at + 1]) entries.push({ type: madt.bytes[at], at });
  const ofType = (type: number) => entries.filter((entry) => entry.type === type).map(({ at }) => at);
  assert.deepEqual(
    ofType(0).map((at) => madt.bytes[at + 3]),
    [0, 1],
  );
  const [ioApic] = ofType(1);
  assert.equal(madt.bytes[ioApic + 2], IO_APIC.id);
  assert.equal(madt.view.getUint32(ioApic + 4, true), MMIO.ioApic.base);
  const override = (irq: number) => {
    const at = ofType(2).find((one) => madt.bytes[one + 3] === irq);
    assert.ok(at !== undefined, `IRQ ${irq} is overridden`);
    return { gsi: madt.view.getUint32(at + 4, true), flags: madt.view.getUint16(at + 8, true) };
  };
  assert.equal(override(0).gsi, 2);
  assert.deepEqual(override(9), { gsi: 9, flags: 0b1101 }); // level, active high
  assert.equal(madt.bytes[ofType(4)[0] + 5], 1, 'LINT1');
});

test('the MCFG tells the configuration window for buses 0 to 255', () => {
  const mcfg = walk().listed.find(({ signature }) => signature === 'MCFG');
  assert.ok(mcfg !== undefined);
  assert.equal(mcfg.view.getBigUint64(44, true), BigInt(MMIO.ecam.base));
  assert.deepEqual([mcfg.bytes[54], mcfg.bytes[55]], [0, 255]);
});

const iaslMissing = spawnSync('iasl', ['-v']).error !== undefined && 'iasl is not installed (Debian: acpica-tools)';

test('iasl reads every table and compiles its own disassembly of the DSDT again', { skip: iaslMissing }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'vireo-acpi-'));
  try {
    for (const { signature, bytes } of acpiTables({ ...OPTIONS, pciHotplug: true, panicPort: true })) {
      if (signature === 'RSD PTR ') continue; // found by scanning, not a table for iasl
      const file = join(folder, `${signature}.aml`);
      writeFileSync(file, bytes);
      const output = execFileSync('iasl', ['-d', file], { encoding: 'utf8', stdio: 'pipe' });
      assert.doesNotMatch(output, /warning|error|incorrect|invalid/i, `${signature}: ${output}`);
    }
    const source = readFileSync(join(folder, 'DSDT.dsl'), 'utf8');
    for (const part of ['_S5', 'PNP0A08', 'PNP0501', 'PNP0303', '_PRT', 'Device (C001)']) {
      assert.ok(source.includes(part), `the DSDT has no ${part}`);
    }
    const compiled = spawnSync('iasl', [join(folder, 'DSDT.dsl')], { encoding: 'utf8' });
    assert.match(compiled.stdout + compiled.stderr, /Compilation successful\. 0 Errors, 0 Warnings/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a table of one's own has a header with the right sum, and is listed", () => {
  const own = ownAcpiTable(Uint8Array.of(1, 2, 3), false, { sig: 'TEST', rev: 3, oemId: 'me', oemRev: 7 });
  assert.equal(own.reduce((sum, byte) => sum + byte, 0) & 0xff, 0);
  assert.deepEqual([Buffer.from(own.subarray(0, 4)).toString(), own[8], own.length], ['TEST', 3, 39]);
  const tables = acpiTables({ ...OPTIONS, extraTables: [own] });
  const { base } = tables.find(({ signature }) => signature === 'TEST')!;
  const xsdt = tables.find(({ signature }) => signature === 'XSDT')!.bytes;
  const listed = Array.from({ length: (xsdt.length - 36) / 8 }, (_, i) =>
    new DataView(xsdt.buffer, xsdt.byteOffset).getUint32(36 + i * 8, true),
  );
  assert.ok(listed.includes(base));
  assert.throws(() => ownAcpiTable(Uint8Array.of(1), true), /at least 36 bytes/);
});
