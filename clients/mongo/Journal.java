// Entries in a file, one after the other, each there before anybody is told of it:
//
//   length (4 bytes) and CRC-32 (4 bytes) of what follows, BSON of the head, BSON of the document
//
// Numbers are little-endian; the document may be absent. What is written survives the end of
// the process, not of the machine: nothing is synced.

import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.bson.BsonDecoder;
import de.bwaldvogel.mongo.wire.bson.BsonEncoder;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.function.BiConsumer;
import java.util.zip.CRC32;

final class Journal {
  private static final int PREFIX_BYTES = 8;
  private final FileChannel file;

  /** Tells every entry of the file and cuts off what a killed process left unfinished. */
  Journal(Path path, BiConsumer<Document, Document> tell) throws IOException {
    file = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
    long whole = 0;
    try (InputStream in = new BufferedInputStream(Files.newInputStream(path), 1 << 16)) {
      for (byte[] entry = next(in); entry != null; entry = next(in)) {
        ByteBuf bytes = Unpooled.wrappedBuffer(entry);
        Document head = BsonDecoder.decodeBson(bytes);
        tell.accept(head, bytes.isReadable() ? BsonDecoder.decodeBson(bytes) : null);
        whole += PREFIX_BYTES + entry.length;
      }
    }
    file.truncate(whole);
    file.position(whole);
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

  /** Returns once the operating system has the entry. */
  void append(Document head, Document document) {
    ByteBuf bytes = Unpooled.buffer().writeZero(PREFIX_BYTES);
    BsonEncoder.encodeDocument(head, bytes);
    if (document != null) {
      BsonEncoder.encodeDocument(document, bytes);
    }
    byte[] entry = new byte[bytes.readableBytes()];
    bytes.readBytes(entry);
    bytes.setIntLE(0, entry.length - PREFIX_BYTES).setIntLE(4, checksum(entry, PREFIX_BYTES));
    ByteBuffer out = bytes.readerIndex(0).nioBuffer();
    try {
      while (out.hasRemaining()) {
        file.write(out);
      }
    } catch (IOException error) {
      // What is in memory would be told although it is not kept.
      error.printStackTrace();
      Runtime.getRuntime().halt(1);
    }
  }

  private static int checksum(byte[] bytes, int from) {
    CRC32 checksum = new CRC32();
    checksum.update(bytes, from, bytes.length - from);
    return (int) checksum.getValue();
  }
}
