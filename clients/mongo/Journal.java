// Entries in a file, one after the other, each there before anybody is told of it:
//
//   length (4 bytes) and CRC-32 (4 bytes) of what follows, BSON of the head, BSON of the document
//
// Numbers are little-endian; the document may be absent. An entry is found again by its place,
// the offset at which it begins. What is written survives the end of the process, not of the
// machine: nothing is synced.

import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.bson.BsonDecoder;
import de.bwaldvogel.mongo.wire.bson.BsonEncoder;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32;

final class Journal {
  private static final int PREFIX_BYTES = 8;
  private final FileChannel file;
  private long end;

  record Entry(Document head, Document document, int bytes) {}

  interface Reader {
    void read(long place, Document head, boolean hasDocument);
  }

  Journal(Path path) throws IOException {
    file = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
  }

  /** Reads every entry and cuts off what a killed process left unfinished. */
  void replay(Path path, Reader reader) throws IOException {
    try (InputStream in = new BufferedInputStream(Files.newInputStream(path), 1 << 16)) {
      for (byte[] entry = next(in); entry != null; entry = next(in)) {
        ByteBuf bytes = Unpooled.wrappedBuffer(entry);
        Document head = BsonDecoder.decodeBson(bytes);
        reader.read(end, head, bytes.isReadable());
        end += PREFIX_BYTES + entry.length;
      }
    }
    file.truncate(end);
  }

  /** The next whole entry; null at the end. */
  private static byte[] next(InputStream in) throws IOException {
    byte[] prefix = in.readNBytes(PREFIX_BYTES);
    if (prefix.length < PREFIX_BYTES) {
      return null;
    }
    ByteBuf numbers = Unpooled.wrappedBuffer(prefix);
    int length = numbers.readIntLE();
    byte[] entry = in.readNBytes(Math.max(length, 0));
    return entry.length == length && checksum(entry, 0) == numbers.readIntLE() ? entry : null;
  }

  /** Returns the entry's place once the operating system has it. */
  long append(Document head, Document document) {
    ByteBuf bytes = Unpooled.buffer().writeZero(PREFIX_BYTES);
    BsonEncoder.encodeDocument(head, bytes);
    if (document != null) {
      BsonEncoder.encodeDocument(document, bytes);
    }
    byte[] entry = new byte[bytes.readableBytes()];
    bytes.getBytes(0, entry);
    Unpooled.wrappedBuffer(entry)
        .setIntLE(0, entry.length - PREFIX_BYTES)
        .setIntLE(4, checksum(entry, PREFIX_BYTES));
    ByteBuffer out = ByteBuffer.wrap(entry);
    long place = end;
    try {
      while (out.hasRemaining()) {
        end += file.write(out, end);
      }
    } catch (IOException error) {
      // What is in memory would be told although it is not kept.
      error.printStackTrace();
      Runtime.getRuntime().halt(1);
    }
    return place;
  }

  /** The entry at a place. */
  Entry read(long place) {
    ByteBuf prefix = bytes(place, PREFIX_BYTES);
    int length = prefix.readIntLE();
    ByteBuf entry = bytes(place + PREFIX_BYTES, length);
    Document head = BsonDecoder.decodeBson(entry);
    return new Entry(head, entry.isReadable() ? BsonDecoder.decodeBson(entry) : null, length);
  }

  private ByteBuf bytes(long from, int count) {
    ByteBuffer in = ByteBuffer.allocate(count);
    try {
      while (in.hasRemaining()) {
        if (file.read(in, from + in.position()) < 0) {
          throw new IllegalStateException("the journal ends before " + (from + count));
        }
      }
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return Unpooled.wrappedBuffer(in.flip());
  }

  private static int checksum(byte[] bytes, int from) {
    CRC32 checksum = new CRC32();
    checksum.update(bytes, from, bytes.length - from);
    return (int) checksum.getValue();
  }
}
