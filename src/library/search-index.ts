import { existsSync } from 'node:fs';
import type Libsql from 'libsql';
import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import { ServiceError } from '../errors.js';

/** What the index knows of one image. */
export interface IndexedImage {
  /** Of the file, below the folder that is indexed. */
  readonly name: string;
  readonly bytes: number;
  readonly modifiedMs: number;
  readonly sha256: string;
  /** [E], unit length */
  readonly embedding: Float32Array;
  readonly caption: string | null;
  readonly tags: readonly string[];
}

export interface SearchHit {
  readonly name: string;
  /** Cosine with what was searched for. */
  readonly similarity: number;
  readonly caption: string | null;
  readonly tags: readonly string[];
}

export interface SearchOptions {
  readonly limit: number;
  /** Only images with this tag. */
  readonly tag?: string | undefined;
}

/** Vectors of different models lie in different spaces. */
export interface EmbeddingModel {
  readonly id: string;
  readonly version: string;
  /** Numbers of an embedding. */
  readonly dimensions: number;
}

const HitSchema = Type.Object({
  name: Type.String(),
  similarity: Type.Number(),
  caption: Type.Union([Type.String(), Type.Null()]),
  tags: Type.String(),
});
const KnownSchema = Type.Object({
  name: Type.String(),
  bytes: Type.Number(),
  modifiedMs: Type.Number(),
  /** 1 or 0. */
  isCaptioned: Type.Number(),
});
type Known = Static<typeof KnownSchema>;

/** The layout of the tables; another one is made anew. */
const format = 1;

/**
 * An index of images in one file of SQLite (libSQL, which has vectors). A search compares with every image, so what it finds
 * is exact: there is no approximation whose recall would have to be trusted.
 */
export class SearchIndex {
  readonly #database: Libsql.Database;

  private constructor(database: Libsql.Database) {
    this.#database = database;
  }

  /**
   * Opens an index to add to it; one of another model is emptied.
   *
   * @throws ServiceError storage_unavailable
   */
  static async openForWriting(path: string, model: EmbeddingModel): Promise<SearchIndex> {
    return guard(path, async () => {
      const database = await connect(path);
      // Readers go on meanwhile, and whatever ends the program leaves the index whole.
      database.exec('PRAGMA journal_mode = WAL');
      database.exec('PRAGMA synchronous = NORMAL');
      database.exec('CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)');
      if (settingOf(database, 'model') !== nameOf(model)) {
        database.exec('DROP TABLE IF EXISTS images');
        const set = database.prepare('INSERT OR REPLACE INTO settings VALUES (?, ?)');
        set.run('model', nameOf(model));
      }
      database.exec(`CREATE TABLE IF NOT EXISTS images (
        name TEXT PRIMARY KEY,
        bytes INTEGER NOT NULL,
        modifiedMs REAL NOT NULL,
        sha256 TEXT NOT NULL,
        embedding F32_BLOB(${model.dimensions}) NOT NULL,
        caption TEXT,
        tags TEXT NOT NULL
      )`);
      database.exec('CREATE INDEX IF NOT EXISTS images_by_content ON images (sha256)');
      return new SearchIndex(database);
    });
  }

  /**
   * Opens an index to search in it.
   *
   * @throws ServiceError not_found | storage_unavailable
   */
  static async open(path: string, model: EmbeddingModel): Promise<SearchIndex> {
    return guard(path, async () => {
      // SQLite would make the file.
      if (!existsSync(path)) {
        throw new ServiceError('not_found', `There is no index ${path}: write it with pcm-caption index.`);
      }
      const database = await connect(path);
      const known = settingOf(database, 'model');
      if (known === nameOf(model)) return new SearchIndex(database);
      database.close();
      throw new ServiceError(
        'storage_unavailable',
        `The index ${path} is of another model: write it again with pcm-caption index.`,
      );
    });
  }

  /** Sizes and times of all files, as they were indexed. */
  *known(): Generator<Known> {
    const rows = this.#database
      .prepare('SELECT name, bytes, modifiedMs, caption IS NOT NULL AS isCaptioned FROM images')
      .iterate();
    for (const row of rows) yield Value.Parse(KnownSchema, row);
  }

  /**
   * Gives a content that is indexed another name as well.
   *
   * @param withCaption only where it is captioned
   * @returns false when it is not indexed so
   */
  copy(
    sha256: string,
    { name, bytes, modifiedMs }: Omit<Known, 'isCaptioned'>,
    withCaption: boolean,
  ): boolean {
    const { changes } = this.#database
      .prepare(
        `INSERT OR REPLACE INTO images SELECT ?, ?, ?, sha256, embedding, caption, tags
           FROM images WHERE sha256 = ? AND (caption IS NOT NULL OR NOT ?) LIMIT 1`,
      )
      .run(name, bytes, modifiedMs, sha256, Number(withCaption));
    return changes > 0;
  }

  put({ name, bytes, modifiedMs, sha256, embedding, caption, tags }: IndexedImage): void {
    this.#database
      .prepare('INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?)')
      .run(name, bytes, modifiedMs, sha256, blobOf(embedding), caption, JSON.stringify(tags));
  }

  remove(name: string): void {
    this.#database.prepare('DELETE FROM images WHERE name = ?').run(name);
  }

  get size(): number {
    return Value.Parse(
      Type.Object({ n: Type.Number() }),
      this.#database.prepare('SELECT count(*) AS n FROM images').get(),
    ).n;
  }

  /** The images most like a vector of unit length, best first. */
  search(vector: Float32Array, { limit, tag }: SearchOptions): SearchHit[] {
    const rows = this.#database
      .prepare(
        `SELECT name, 1 - vector_distance_cos(embedding, ?) AS similarity, caption, tags FROM images
           WHERE ? IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)
           ORDER BY similarity DESC, name LIMIT ?`,
      )
      .all(blobOf(vector), tag ?? null, tag ?? null, limit);
    return rows.map((row) => {
      const { tags, ...hit } = Value.Parse(HitSchema, row);
      return { ...hit, tags: Value.Parse(Type.Array(Type.String()), JSON.parse(tags)) };
    });
  }

  close(): void {
    this.#database.close();
  }
}

async function connect(path: string): Promise<Libsql.Database> {
  const { default: Database } = await import('libsql').catch(() => {
    throw new ServiceError('storage_unavailable', 'SQLite is not installed: npm install libsql.');
  });
  return new Database(path, { timeout: 5000 });
}

/** What SQLite says when the file is not what it should be, as one of the service's problems. */
async function guard<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new ServiceError('storage_unavailable', `The index ${path} cannot be opened: ${reason}.`);
  }
}

function settingOf(database: Libsql.Database, name: string): string | undefined {
  const tables = database.prepare("SELECT name FROM sqlite_master WHERE name = 'settings'").all();
  if (tables.length === 0) return undefined;
  const row = database.prepare('SELECT value FROM settings WHERE name = ?').get(name);
  return row === undefined ? undefined : Value.Parse(Type.Object({ value: Type.String() }), row).value;
}

function nameOf({ id, version, dimensions }: EmbeddingModel): string {
  return `${id} ${version} ${dimensions} ${format}`;
}

/** Little-endian numbers of 32 bits, as libSQL keeps them. */
function blobOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
