import io.cloudevents.CloudEvent;
import io.cloudevents.kafka.KafkaMessageFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import org.apache.kafka.common.header.internals.RecordHeaders;

/** Reads messages of Kafka with the CloudEvents SDK for Java, and prints how many it has read. */
public class Reader {
    public static void main(String[] arguments) throws Exception {
        RecordHeaders headers = new RecordHeaders();
        int read = 0;
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String[] fields = line.split(" ", -1);
            byte[] last = Base64.getDecoder().decode(fields[fields.length - 1]);
            if (fields[0].equals("header")) {
                headers.add(fields[1], last);
                continue;
            }
            CloudEvent event = KafkaMessageFactory.createReader(headers, last).toEvent();
            if (event.getId().isEmpty() || event.getType().isEmpty() || event.getSource().toString().isEmpty()) {
                throw new IllegalStateException("an attribute of " + event + " is empty");
            }
            headers = new RecordHeaders();
            read += 1;
        }
        System.out.println("read " + read);
    }
}
